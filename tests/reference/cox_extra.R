# Cox models with case weights, delayed entry, strata and subjects together: Rscript cox_extra.R > cox_extra.json
# Run in this folder. eps is set so that coxph converges to its root.
suppressPackageStartupMessages({library(survival); library(jsonlite)})
full <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 50)
veteran <- read.csv("data/veteran.csv"); veteran$w <- ifelse(veteran$age > 60, 1.5, 0.75)
cgd <- read.csv("data/cgd.csv")
cgd$treat <- factor(cgd$treat, c("placebo", "rIFN-g")); cgd$w <- ifelse(cgd$steroids == 1, 2, 1) + (cgd$id %% 3) / 4
res <- function(f, weighted = FALSE) {
  types <- c("martingale", "deviance", "score", "schoenfeld", "scaledsch", "dfbeta", "dfbetas")
  r <- lapply(types, function(t) { z <- as.matrix(residuals(f, t)); list(first = unname(z[1:8, , drop = FALSE]), sumsq = unname(colSums(z^2)), n = nrow(z)) })
  names(r) <- types; r }
zph <- function(f) sapply(c("km", "rank", "identity", "log"), function(t) unname(cox.zph(f, transform = t)$table), simplify = FALSE)
curve <- function(f, nd, times, type) { s <- summary(survfit(f, nd, conf.type = type), times = times)
  list(time = s$time, surv = unname(as.matrix(s$surv)), se = unname(as.matrix(s$std.err)), lower = unname(as.matrix(s$lower)), upper = unname(as.matrix(s$upper))) }
fit <- function(f) { s <- summary(f); list(coef = unname(coef(f)), var = unname(f$var), naive = if (is.null(f$naive.var)) NULL else unname(f$naive.var), loglik = f$loglik,
  score = f$score, rscore = f$rscore, wald = unname(f$wald.test), concordance = unname(f$concordance["concordance"]), concordance_se = unname(f$concordance["std"])) }
out <- list(R = as.character(getRversion()), survival = as.character(packageVersion("survival")))
for (ties in c("efron", "breslow")) {
  w <- coxph(Surv(time, status) ~ trt + karno + age, veteran, weights = w, ties = ties, control = full, robust = FALSE)
  r <- coxph(Surv(time, status) ~ trt + karno + age, veteran, weights = w, ties = ties, control = full, robust = TRUE)
  s <- coxph(Surv(time, status) ~ trt + karno + age + strata(celltype), veteran, weights = w, ties = ties, control = full, robust = FALSE)
  a <- coxph(Surv(tstart, tstop, status) ~ treat + age + steroids, cgd, weights = w, cluster = id, ties = ties, control = full)
  b <- coxph(Surv(tstart, tstop, status) ~ treat + age + strata(sex), cgd, ties = ties, control = full)
  nd <- data.frame(trt = c(1, 2), karno = c(30, 80), age = c(50, 70)); nc <- data.frame(treat = factor(c("placebo", "rIFN-g"), levels(cgd$treat)), age = c(5, 30), steroids = c(0, 1))
  ns <- data.frame(trt = 1, karno = 60, age = 60, celltype = c("adeno", "large"))
  out[[ties]] <- list(
    weighted = fit(w), weighted_robust = fit(r), weighted_strata = fit(s), counting = fit(a), counting_strata = fit(b),
    weighted_residuals = res(w), weighted_strata_residuals = res(s), counting_residuals = res(a), counting_strata_residuals = res(b),
    weighted_zph = zph(w), weighted_strata_zph = zph(s), counting_zph = zph(a), counting_strata_zph = zph(b),
    weighted_curves = sapply(c("plain", "log", "log-log"), function(t) curve(w, nd, c(30, 100, 200, 400), t), simplify = FALSE),
    weighted_robust_curves = curve(r, nd, c(30, 100, 200, 400), "log"),
    counting_curves = curve(a, nc, c(50, 150, 250, 350), "log-log"),
    weighted_strata_curves = lapply(1:2, function(i) curve(s, ns[i, ], c(20, 60, 120), "log-log")))
}
cat(toJSON(out, digits = I(17), auto_unbox = TRUE, null = "null"))
