# Calibration of predicted probabilities of a binary endpoint: slope, calibration in the large, and a logistic spline.
# Rscript tests/reference/binary_calibration.R (in the repository) writes binary_calibration.json beside it.
suppressPackageStartupMessages({library(rms); library(sandwich); library(jsonlite)})
set.seed(31)
n <- 250L
risk <- round(plogis(rnorm(n, -0.5, 1.2)), 2)
risk <- pmin(pmax(risk, 0.02), 0.98)
event <- as.integer(runif(n) < plogis(0.2 + 0.7 * qlogis(risk)))
tight <- glm.control(epsilon = 1e-15, maxit = 100)
score <- qlogis(risk)
slope <- glm(event ~ score, binomial, control = tight)
large <- glm(event ~ offset(score), binomial, control = tight)
knots <- rcspline.eval(score, nk = 4, knots.only = TRUE)
basis <- rcspline.eval(score, knots = knots, inclx = TRUE)
smooth <- glm(event ~ basis, binomial, control = tight)
at <- seq(0.05, 0.9, by = 0.05)
X <- cbind(1, rcspline.eval(qlogis(at), knots = knots, inclx = TRUE))
eta <- as.vector(X %*% coef(smooth))
se <- sqrt(diag(X %*% sandwich(smooth) %*% t(X)))
gap <- abs(fitted(smooth) - risk)
out <- list(
  r_call = "glm(event ~ qlogis(risk), binomial); glm(event ~ offset(qlogis(risk)), binomial); glm(event ~ rms::rcspline.eval(qlogis(risk), nk = 4), binomial) with sandwich::sandwich",
  versions = list(R = as.character(getRversion()), rms = as.character(packageVersion("rms")), sandwich = as.character(packageVersion("sandwich"))),
  risk = risk, event = event,
  slope = unname(coef(slope)[2]), slope_se = unname(sqrt(vcov(slope)[2, 2])),
  in_the_large = unname(coef(large)), in_the_large_se = unname(sqrt(vcov(large)[1, 1])),
  at = at, observed = plogis(eta), low = plogis(eta - qnorm(0.975) * se), high = plogis(eta + qnorm(0.975) * se),
  ici = mean(gap), e50 = unname(quantile(gap, 0.5)), e90 = unname(quantile(gap, 0.9)))
write_json(out, "tests/reference/binary_calibration.json", digits = NA, auto_unbox = TRUE)
