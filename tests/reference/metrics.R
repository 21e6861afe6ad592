# Numbers for the tests of performance measures that no stored case holds: weighted and stratified concordance, censoring
# by a Cox model, predicted risks with competing events, calibration curves by weighted regression, binary outcomes.
# Rscript tests/reference/metrics.R (in the repository) writes metrics.json beside it.
suppressPackageStartupMessages({library(survival); library(prodlim); library(riskRegression); library(rms); library(jsonlite)})
folder <- "tests/reference"
read <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))
gbsg2 <- read("gbsg2_split"); pbc <- read("pbc_rct"); lung <- read("lung"); rct <- read("rct_sim")
scores <- function(z) list(AUC = as.data.frame(z$AUC$score), AUC_contrasts = as.data.frame(z$AUC$contrasts),
                           Brier = as.data.frame(z$Brier$score), Brier_contrasts = as.data.frame(z$Brier$contrasts))

# Concordance with case weights and strata, under each weighting of pairs.
lung$w <- 0.5 + (seq_len(nrow(lung)) %% 7) / 3
one <- function(timewt) {
  z <- concordance(Surv(time, status) ~ age, lung, reverse = TRUE, timewt = timewt, weights = w)
  list(value = unname(z$concordance), se = sqrt(as.vector(z$var)), count = sum(z$count[1:3]))
}
kinds <- c(n = "n", uno = "n/G2", S = "S", SG = "S/G", I = "I")
weighted <- lapply(kinds, one)
stratified <- lapply(kinds[c("n", "uno")], function(k) {
  z <- concordance(Surv(time, status) ~ age + strata(sex), lung, reverse = TRUE, timewt = k)
  list(value = unname(z$concordance), se = sqrt(as.vector(z$var)))
})

# Paired difference of two scores.
two <- concordance(coxph(Surv(time, cens) ~ horTh + age + pnodes + progrec, gbsg2), coxph(Surv(time, cens) ~ pnodes, gbsg2))
paired <- list(value = unname(two$concordance), difference = unname(diff(two$concordance)),
               se = sqrt(as.vector(c(-1, 1) %*% two$var %*% c(-1, 1))))

# Censoring by a Cox model.
train <- gbsg2[gbsg2$train, ]; test <- gbsg2[!gbsg2$train, ]
f <- coxph(Surv(time, cens) ~ horTh + age + pnodes + progrec, train, x = TRUE, y = TRUE)
g <- coxph(Surv(time, cens) ~ pnodes, train, x = TRUE, y = TRUE)
cox_censoring <- scores(Score(list(full = f, nodes = g), formula = Surv(time, cens) ~ horTh + age, data = test,
                              times = c(730, 1461), metrics = c("auc", "brier"), cens.model = "cox", conf.int = TRUE))
# The same with a converged censoring model, the formula spelled out; predictCox gives the influences of its hazard.
by_hand <- lapply(c(730, 1461), function(h) {
  n <- nrow(test)
  cens <- coxph(Surv(time, cens == 0) ~ horTh + age, test, x = TRUE, y = TRUE, ties = "breslow",
                control = coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 50))
  ended <- test$cens == 1 & test$time <= h; beyond <- test$time > h
  at <- ifelse(beyond, h, test$time - 1e-3)
  p <- predictCox(cens, newdata = test, times = at, diag = TRUE, type = "cumhazard", iid = TRUE)
  w <- ifelse(ended | beyond, exp(as.vector(p$cumhazard)), 0)
  r <- as.vector(predictRisk(f, test, times = h))
  part <- w * (ended - r)^2
  iid <- p$cumhazard.iid
  if (length(dim(iid)) == 3) iid <- iid[, 1, ]
  influence <- part - mean(part) + as.vector(iid %*% part)
  list(horizon = h, brier = mean(part), se = sd(influence) / sqrt(n), influence = influence[1:5], weights = w[1:5])
})

# Predicted risks with competing events, of the models of the case surv_score_competing.
csc <- CSC(Hist(time, status) ~ trt + age + log(bili), data = pbc)
fgr <- FGR(Hist(time, status) ~ trt + age + bili, data = pbc, cause = 2)
times <- c(1095, 1826)
risks <- list(csc = predictRisk(csc, pbc, times = times, cause = 2), fg = predictRisk(fgr, pbc, times = times, cause = 2))
# riskRegression's standard error of the AUC takes cause 1 for the cases whatever `cause` is, so the causes are swapped.
pbc$swapped <- c(0, 2, 1)[pbc$status + 1]
swapped <- scores(Score(risks, formula = Hist(time, swapped) ~ 1, data = pbc, times = times, cause = 1,
                        metrics = c("auc", "brier"), summary = "ipa", cens.model = "km", conf.int = TRUE))
first <- scores(Score(list(csc = predictRisk(csc, pbc, times = times, cause = 1)), formula = Hist(time, status) ~ 1,
  data = pbc, times = times, cause = 1, metrics = c("auc", "brier"), summary = "ipa", cens.model = "km", conf.int = TRUE))
first_risks <- predictRisk(csc, pbc, times = times, cause = 1)

# A calibration curve: complementary log-log regression weighted for censoring, on a restricted cubic spline.
curve <- function(time, event, ended, risk, h) {
  u <- time + ifelse(ended, 0, 0.25)  # whole times: events leave before censorings of the same day
  G <- survfit(Surv(u, !ended) ~ 1)
  value <- approxfun(c(0, G$time), c(1, G$surv), method = "constant", rule = 2)
  w <- ifelse(time > h, 1 / value(h + 0.5), ifelse(ended, 1 / value(time - 0.25), 0))
  y <- as.numeric(event & time <= h); z <- log(-log1p(-risk))
  knots <- quantile(z, c(0.05, 0.35, 0.65, 0.95))
  X <- rcspline.eval(z, knots, inclx = TRUE)
  m <- suppressWarnings(glm(y ~ X, binomial("cloglog"), weights = w, control = list(epsilon = 1e-14, maxit = 100)))
  o <- predict(m, type = "response"); gap <- abs(o - risk)
  list(knots = unname(knots), observed = unname(o[1:10]), ici = mean(gap), e50 = unname(median(gap)),
       e90 = unname(quantile(gap, 0.9)), weights = w[1:10])
}
r <- as.vector(predictRisk(f, test, times = 1095))
calibration <- list(gbsg2 = curve(test$time, test$cens == 1, test$cens == 1, r, 1095), risk = r,
                    pbc = curve(pbc$time, pbc$status == 2, pbc$status > 0, risks$csc[, 2], 1826),
                    fine_gray_slope = {
                      z <- log(-log1p(-risks$csc[, 2])); late <- pbc$time > 1826
                      k <- cmprsk::crr(pmin(pbc$time, 1826), ifelse(late, 0, pbc$status), cbind(z), failcode = 2, cencode = 0,
                                       gtol = 1e-12)
                      list(slope = unname(k$coef), se = sqrt(k$var[1]))
                    })

# A binary outcome: the stored case's models, with the difference of the scores and the logarithmic loss.
m <- glm(response ~ w + x2 + x7 + w:x7, binomial, rct); m0 <- glm(response ~ w + x2 + x7, binomial, rct)
p <- fitted(m); q <- fitted(m0); loss <- -(rct$response * log(p) + (1 - rct$response) * log(1 - p))
yes <- p >= 0.5
binary <- list(contrasts = as.data.frame(Score(list(full = m, main = m0), formula = response ~ 1, data = rct,
                                               metrics = "brier", conf.int = TRUE)$Brier$contrasts),
               log_loss = mean(loss), log_loss_se = sd(loss) / sqrt(length(loss)),
               table = c(tp = sum(yes & rct$response == 1), fp = sum(yes & rct$response == 0),
                         fn = sum(!yes & rct$response == 1), tn = sum(!yes & rct$response == 0)),
               wilson = {
                 t <- table(yes, rct$response)
                 list(accuracy = prop.test(t[1, 1] + t[2, 2], sum(t), correct = FALSE)$conf.int[1:2],
                      recall = prop.test(t[2, 2], sum(t[, 2]), correct = FALSE)$conf.int[1:2],
                      precision = prop.test(t[2, 2], sum(t[2, ]), correct = FALSE)$conf.int[1:2])
               })
write_json(list(R_version = as.character(getRversion()),
                packages = lapply(c("survival", "riskRegression", "rms", "cmprsk"), function(x) paste(x, packageVersion(x))),
                concordance = list(weighted = weighted, stratified = stratified, paired = paired),
                cox_censoring = cox_censoring, cox_censoring_by_hand = by_hand, competing_risks = risks,
                competing_swapped = swapped, first_cause = c(first, list(risk = first_risks)),
                calibration = calibration, binary = binary),
           file.path(folder, "metrics.json"), digits = NA, auto_unbox = TRUE, na = "null")
