# Rscript tests/reference/effects.R DATA_FOLDER ACTG175_CSV ROBINCAR2_FOLDER > tests/reference/effects.json
# DATA_FOLDER holds rct_sim.csv (simulated here); ACTG175.csv stands in the Python package lifelines; ROBINCAR2_FOLDER is a
# checkout of openpharma/RobinCar2 0.2.3.9000 at 43ba7c1 (Apache-2.0), whose functions are sourced, not copied.
suppressPackageStartupMessages({library(survival); library(jsonlite); library(checkmate); library(sandwich)
  library(MASS); library(numDeriv)})
args <- commandArgs(trailingOnly = TRUE)
for (f in list.files(file.path(args[3], "R"), full.names = TRUE)) source(f)
d <- read.csv(file.path(args[1], "rct_sim.csv"))
d$arm <- factor(d$w); d$x7 <- factor(d$x7); d$x8 <- factor(d$x8)
a <- subset(read.csv(args[2]), arms %in% c(0, 1)); a$arm <- factor(a$arms); a$strat <- factor(a$strat)

# Two-sample summaries ------------------------------------------------------------------------------------------
ucb <- mantelhaen.test(UCBAdmissions, correct = FALSE)
tab <- table(d$arm, factor(d$response, 1:0), d$x8)
own <- mantelhaen.test(aperm(tab[2:1, , ], c(2, 1, 3)), correct = FALSE)
welch <- t.test(y ~ arm, d)

# Mantel-Haenszel difference by brute-force inversion of the test whose variance is Sato's at the hypothesised value
mh_difference <- function(x1, n1, x0, n0, level = .95) {
  n <- n1 + n0; w <- n1 * n0 / n; W <- sum(w)
  est <- sum(x1 * n0 / n - x0 * n1 / n) / W
  P <- sum((n1^2 * x0 - n0^2 * x1 + n1 * n0 * (n0 - n1) / 2) / n^2) / W^2
  Q <- sum((x1 * (n0 - x0) + x0 * (n1 - x1)) / (2 * n)) / W^2
  z <- qnorm((1 + level) / 2)
  g <- function(t) (est - t)^2 - z^2 * (t * P + Q)
  list(value = est, se = sqrt(est * P + Q), low = uniroot(g, c(est - 1, est), tol = 1e-15)$root,
    high = uniroot(g, c(est, est + 1), tol = 1e-15)$root)
}
# Greenland and Robins 1985, the variance of the logarithm of the Mantel-Haenszel risk ratio
mh_ratio <- function(x1, n1, x0, n0) {
  n <- n1 + n0; m <- x1 + x0; R <- sum(x1 * n0 / n); S <- sum(x0 * n1 / n)
  list(value = R / S, se = sqrt(sum((m * n1 * n0 - x1 * x0 * n) / n^2) / (R * S)))
}
k <- split(d, d$x8); count <- function(f) vapply(k, f, 0)
x1 <- count(function(s) sum(s$response[s$w == 1])); n1 <- count(function(s) sum(s$w == 1))
x0 <- count(function(s) sum(s$response[s$w == 0])); n0 <- count(function(s) sum(s$w == 0))

# The score interval (Miettinen and Nurminen): the restricted likelihood is maximised numerically, the test inverted
score_interval <- function(x1, n1, x0, n0, level = .95) {
  chi <- function(t) {
    ll <- function(p) sum(dbinom(c(x1, x0), c(n1, n0), c(p + t, p), log = TRUE))
    lo <- max(0, -t) + 1e-12; hi <- min(1, 1 - t) - 1e-12
    p0 <- optimize(ll, c(lo, hi), maximum = TRUE, tol = 1e-13)$maximum; p1 <- p0 + t; n <- n1 + n0
    ((x1 / n1 - x0 / n0 - t) / sqrt((p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0) * n / (n - 1)))^2 - qchisq(level, 1)
  }
  e <- x1 / n1 - x0 / n0
  c(uniroot(chi, c(-1 + 1e-6, e), tol = 1e-13)$root, uniroot(chi, c(e, 1 - 1e-6), tol = 1e-13)$root)
}

# Standardisation ------------------------------------------------------------------------------------------------
out <- function(fit) list(mean = unname(fit$marginal_mean$estimate), mean_se = unname(sqrt(diag(fit$marginal_mean$variance))),
  value = unname(fit$contrast$estimate), se = unname(sqrt(diag(fit$contrast$variance))))
glm3 <- function(formula, treatment, ...) lapply(c(difference = "difference", ratio = "log_risk_ratio", odds = "log_odds_ratio"),
  function(what) out(robin_glm(formula, data = d, treatment = treatment, contrast = what, family = binomial(),
    vcov_args = list(decompose = FALSE), control = glm.control(1e-14, 100), ...)))
standardised <- list(
  ancova_simple = out(robin_lm(y ~ arm + x1 + x2, d, treatment = arm ~ sr(1), vcov_args = list(decompose = FALSE))),
  ancova_blocks = out(robin_lm(y ~ arm + x1 + x2, d, treatment = arm ~ pb(x7), vcov_args = list(decompose = FALSE))),
  anhecova = out(robin_lm(y ~ arm * (x1 + x2 + x7), d, treatment = arm ~ pb(x7), vcov_args = list(decompose = FALSE))),
  logistic_simple = glm3(response ~ arm + x1 + x2, arm ~ sr(1)),
  logistic_blocks = glm3(response ~ arm + x1 + x2, arm ~ pb(x7)),
  logistic_interacted = glm3(response ~ arm * (x1 + x2 + x7), arm ~ pb(x7)),
  logistic_reference = glm3(response ~ arm + x2 + x7 + arm:x7, arm ~ sr(1)))

# Log-rank, adjusted and stratified ------------------------------------------------------------------------------
surv <- function(...) { r <- robin_surv(..., contrast = "none"); list(z = unname(r$test_mat[, "Test Stat."]), p = unname(r$test_mat[, "Pr(>|z|)"])) }
logrank <- list(
  rct_plain = surv(Surv(time, event) ~ 1, data = d, treatment = arm ~ sr(1)),
  rct_strata = surv(Surv(time, event) ~ 1 + strata(x7), data = d, treatment = arm ~ pb(x7)),
  rct_adjusted = surv(Surv(time, event) ~ x1 + x2 + x3, data = d, treatment = arm ~ sr(1)),
  rct_adjusted_strata = surv(Surv(time, event) ~ x1 + x2 + x3 + strata(x7), data = d, treatment = arm ~ pb(x7)),
  actg_adjusted_strata = surv(Surv(days, cens) ~ age + wtkg + karnof + cd40 + symptom + strata(strat), data = a,
    treatment = arm ~ pb(strat)))

# Subgroups: the same baseline strata with one effect and with one effect a level --------------------------------
tight <- coxph.control(eps = 1e-14, iter.max = 50, toler.chol = 1e-15)
a$x <- as.integer(a$arms == 1); a$cd4 <- factor(a$cd40 >= 350, labels = c("below 350", "350 or more"))
subgroup <- function(g) {
  s <- a; s$g <- factor(s[[g]])
  one <- coxph(Surv(days, cens) ~ x + strata(strat, g), s, control = tight)
  each <- coxph(Surv(days, cens) ~ x:g + strata(strat, g), s, control = tight)
  list(level = levels(s$g), coef = unname(coef(each)), se = unname(sqrt(diag(each$var))), common = unname(coef(one)),
    lrt = 2 * (each$loglik[2] - one$loglik[2]), n = as.vector(table(s$g)), events = as.vector(tapply(s$cens, s$g, sum)))
}
json <- list(R = R.version.string, survival = as.character(packageVersion("survival")), RobinCar2 = "0.2.3.9000 (43ba7c1)",
  r_call = "see effects.R on the same stem",
  ucb = list(estimate = unname(ucb$estimate), ci = as.vector(ucb$conf.int), chisq = unname(ucb$statistic), table = as.vector(UCBAdmissions)),
  mantel_haenszel = list(x1 = unname(x1), n1 = unname(n1), x0 = unname(x0), n0 = unname(n0), odds_ratio = unname(own$estimate),
    odds_ratio_ci = as.vector(own$conf.int), chisq = unname(own$statistic), difference = mh_difference(x1, n1, x0, n0), ratio = mh_ratio(x1, n1, x0, n0)),
  score_interval = list(counts = list(c(56, 70, 48, 80), c(9, 10, 3, 10), c(130, 1000, 100, 500)),
    limits = list(score_interval(56, 70, 48, 80), score_interval(9, 10, 3, 10), score_interval(130, 1000, 100, 500))),
  welch = list(difference = unname(diff(welch$estimate)), se = unname(welch$stderr), df = unname(welch$parameter), ci = -rev(as.vector(welch$conf.int))),
  standardised = standardised, logrank = logrank, subgroups = lapply(c(gender = "gender", symptom = "symptom", strat = "strat", cd4 = "cd4"), subgroup))
cat(toJSON(json, digits = I(17), auto_unbox = TRUE, na = "null", pretty = TRUE), "\n")
