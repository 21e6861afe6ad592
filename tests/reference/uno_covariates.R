# Uno's concordance where censoring depends on covariates, every pair spelled out; G(t- | x) from coxph with Breslow's ties.
# Rscript tests/reference/uno_covariates.R (in the repository) writes uno_covariates.json beside it.
suppressPackageStartupMessages({library(survival); library(jsonlite)})
set.seed(12)
n <- 120L
x <- round(rnorm(n), 1); risk <- round(x + rnorm(n), 0)
time <- ceiling(6 * rexp(n, exp(0.5 * x))); cause <- sample(c(1, 1, 1, 2), n, TRUE)
cut <- ceiling(8 * rexp(n, exp(-0.7 * x)))
cause <- ifelse(cut < time, 0, cause); time <- pmin(time, cut)
tau <- 12
before <- function(ended) {
  # A patient with an event at a time is at risk of censoring at it.
  fit <- coxph(Surv(time, !ended) ~ x, ties = "breslow", control = coxph.control(eps = 1e-14, iter.max = 50))
  relative <- exp(as.vector(x * coef(fit)))
  at <- sort(unique(time))
  jump <- sapply(at, function(t) sum(!ended & time == t) / sum(relative[time >= t]))
  function(j, t) exp(-relative[j] * sum(jump[at < t]))
}
pairs <- function(cause) {
  G <- before(cause > 0)
  won <- all <- number <- 0
  for (i in which(cause == 1 & time <= tau)) for (j in seq_len(n)) if (j != i) {
    followed <- time[j] > time[i] || (time[j] == time[i] && cause[j] != 1)
    earlier <- cause[j] == 2 && time[j] < time[i]
    if (!followed && !earlier) next
    w <- 1 / (G(i, time[i]) * G(j, if (earlier) time[j] else time[i]))
    all <- all + w; number <- number + 1
    won <- won + w * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
  }
  list(c = won / all, pairs = number)
}
fit <- coxph(Surv(time, cause == 0) ~ x, ties = "breslow", control = coxph.control(eps = 1e-14, iter.max = 50))
out <- list(
  r_call = "coxph(Surv(time, cause == 0) ~ x, ties = 'breslow'); every pair weighted by 1 / (G(T- | x_i) G(T- | x_j))",
  versions = list(R = as.character(getRversion()), survival = as.character(packageVersion("survival"))),
  x = x, risk = risk, time = time, cause = cause, tau = tau,
  one_event = pairs(ifelse(cause == 2, 0, cause)), competing = pairs(cause))
write_json(out, "tests/reference/uno_covariates.json", digits = NA, auto_unbox = TRUE)
