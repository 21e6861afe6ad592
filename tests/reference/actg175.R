# Rscript tests/reference/actg175.R PATH_TO_ACTG175.csv > tests/reference/actg175.json
# The data stand in the Python package lifelines (datasets/ACTG175.csv); packages survival and jsonlite.
suppressPackageStartupMessages({library(survival); library(jsonlite)})
d <- read.csv(commandArgs(trailingOnly = TRUE)[1])
# coxph stops at a relative change of 1e-9 by default, which leaves coefficients 3e-9 from the root
tight <- coxph.control(eps = 1e-14, iter.max = 50, toler.chol = 1e-15)
cx <- function(f) list(coef = unname(coef(f)), se = unname(sqrt(diag(f$var))), loglik = f$loglik, score = f$score,
  hazard_ratio = unname(exp(coef(f))), ci = unname(exp(confint(f))), n = f$n, events = f$nevent)
pair <- function(arm) {
  s <- subset(d, arms %in% c(0, arm)); s$x <- as.integer(s$arms == arm)
  sd <- survdiff(Surv(days, cens) ~ x + strata(strat), s); un <- survdiff(Surv(days, cens) ~ x, s)
  list(cox_stratified = cx(coxph(Surv(days, cens) ~ x + strata(strat), s, control = tight)),
    cox_unstratified = cx(coxph(Surv(days, cens) ~ x, s, control = tight)),
    logrank_stratified = sd$chisq, logrank_stratified_observed = rowSums(sd$obs), logrank_stratified_expected = rowSums(sd$exp),
    logrank_unstratified = un$chisq, n = nrow(s))
}
arm <- function(a) {
  s <- subset(d, arms == a); f <- survfit(Surv(days, cens) ~ 1, s, conf.type = "log-log")
  q <- quantile(f, c(.1, .25, .5)); m <- summary(f, times = 730); r <- summary(f, rmean = 730)$table
  g <- survfit(Surv(days, 1 - cens) ~ 1, s)
  list(n = nrow(s), events = sum(s$cens), probs = c(.1, .25, .5), quantile = unname(q$quantile), lower = unname(q$lower), upper = unname(q$upper),
    survival_730 = m$surv, se_730 = m$std.err, lower_730 = m$lower, upper_730 = m$upper,
    rmean_730 = unname(r["rmean"]), se_rmean_730 = unname(r["se(rmean)"]), last = max(s$days), median_follow_up = unname(quantile(g, .5)$quantile))
}
s <- subset(d, arms %in% c(0, 1)); s$x <- as.integer(s$arms == 1)
z <- lapply(c(km = "km", rank = "rank", identity = "identity", log = "log"), function(t)
  cox.zph(coxph(Surv(days, cens) ~ x, s, control = tight), transform = t)$table["x", ])
f <- coxph(Surv(days, cens) ~ age + cd40 + karnof, d, control = tight)
k <- concordance(f); u <- concordance(f, timewt = "n/G2", ymax = 1000)
four <- survdiff(Surv(days, cens) ~ arms + strata(strat), d)
out <- list(R = R.version.string, survival = as.character(packageVersion("survival")), arms_vs_0 = lapply(c(`1` = 1, `2` = 2, `3` = 3), pair),
  arms = lapply(c(`0` = 0, `1` = 1, `2` = 2, `3` = 3), arm), zph_arm_1 = lapply(z, unname), logrank_four_arms_stratified = four$chisq,
  cox_age_cd40_karnof = cx(f), concordance = list(value = unname(k$concordance), se = sqrt(as.vector(k$var)), uno_1000 = unname(u$concordance), uno_1000_se = sqrt(as.vector(u$var))))
cat(toJSON(out, digits = I(17), auto_unbox = TRUE, na = "null", pretty = TRUE), "\n")
