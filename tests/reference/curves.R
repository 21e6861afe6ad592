# Numbers for the tests of curves and competing risks that no single R function prints: MaxCombo spelled out, tests with
# more groups, crr driven to its root. Rscript tests/reference/curves.R (in the repository) writes curves.json beside it.
suppressPackageStartupMessages({library(survival); library(cmprsk); library(mvtnorm); library(jsonlite)})
folder <- "tests/reference"
read <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))
gbsg2 <- read("gbsg2"); pbc <- read("pbc_rct"); veteran <- read("veteran"); lung <- read("lung")

# Weighted log-rank statistics of arm 1, their covariance, and the joint p by Genz and Bretz.
maxcombo <- function(time, status, arm, strata = rep(1, length(time)), pairs = rbind(c(0, 0), c(0, 1), c(1, 0), c(1, 1))) {
  G <- rep(0, nrow(pairs)); V <- matrix(0, nrow(pairs), nrow(pairs))
  for (s in unique(strata)) {
    t <- time[strata == s]; e <- status[strata == s]; a <- arm[strata == s]; S <- 1
    for (u in sort(unique(t[e == 1]))) {
      n <- sum(t >= u); n1 <- sum(t >= u & a == 1); d <- sum(t == u & e == 1); d1 <- sum(t == u & e == 1 & a == 1)
      w <- S^pairs[, 1] * (1 - S)^pairs[, 2]
      G <- G + w * (d1 - d * n1 / n)
      if (n > 1) V <- V + outer(w, w) * d * (n - d) / (n - 1) * n1 / n * (1 - n1 / n)
      S <- S * (1 - d / n)
    }
  }
  z <- G / sqrt(diag(V)); R <- cov2cor(V); m <- length(z); set.seed(1)
  precise <- GenzBretz(maxpts = 2e7, abseps = 1e-8, releps = 0)
  two <- pmvnorm(rep(-max(abs(z)), m), rep(max(abs(z)), m), corr = R, algorithm = precise)
  one <- pmvnorm(rep(min(z), m), rep(Inf, m), corr = R, algorithm = precise)
  list(z = z, correlation = R, p = 1 - two[1], p_error = attr(two, "error"), p_one_sided = 1 - one[1],
       p_one_sided_error = attr(one, "error"))
}
arm <- as.integer(gbsg2$horTh == "yes")
x <- with(pbc, cbind(trt = trt, age = age, logbili = log(bili), edema = edema))
exact <- crr(pbc$time, pbc$status, x, failcode = 2, cencode = 0, gtol = 1e-12)
stages <- with(pbc[!is.na(pbc$stage), ], cuminc(time, status, stage, strata = sex))
weighted <- with(pbc, cuminc(time, status, trt, rho = 1))
# Whole months, so that events, competing events and censorings share times.
tied <- read("competing_ties"); tied$ev <- factor(tied$e, 0:2)
tied_crr <- with(tied, crr(t, e, cbind(a, b), gtol = 1e-12))
tied_fg <- coxph(Surv(fgstart, fgstop, fgstatus) ~ a + b, finegray(Surv(t, ev) ~ a + b, tied, etype = "1"), weights = fgwt,
                 control = coxph.control(eps = 1e-11, toler.chol = 1e-13))
tied_strata <- with(tied, cuminc(t, e, g, s)); tied_groups <- with(tied, cuminc(t, e, g))
tied_aj <- summary(survfit(Surv(t, ev) ~ 1, tied, id = seq_len(nrow(tied))), times = c(3, 8, 15))
out <- list(
  r = R.version.string,
  packages = sapply(c("survival", "cmprsk", "mvtnorm"), function(p) as.character(packageVersion(p))),
  maxcombo_gbsg2 = maxcombo(gbsg2$time, gbsg2$cens, arm),
  maxcombo_gbsg2_stratified = maxcombo(gbsg2$time, gbsg2$cens, arm, paste(gbsg2$menostat, gbsg2$tgrade)),
  crr_death_converged = list(coef = unname(exact$coef), vcov = unname(exact$var), loglik = exact$loglik),
  gray_pbc_stage_by_sex = unname(stages$Tests),
  gray_pbc_rho1 = unname(weighted$Tests),
  ties = list(
    crr = list(coef = unname(tied_crr$coef), vcov = unname(tied_crr$var), loglik = tied_crr$loglik),
    finegray = list(coef = unname(coef(tied_fg)), vcov = unname(if (is.null(tied_fg$naive.var)) tied_fg$var else
                    tied_fg$naive.var), loglik = tied_fg$loglik),
    gray_stratified = unname(tied_strata$Tests), gray = unname(tied_groups$Tests),
    cuminc_var = unname(timepoints(tied_groups, c(3, 8, 15))$var),
    survfit = list(pstate = unname(tied_aj$pstate), std_err = unname(tied_aj$std.err))
  )
)
write_json(out, file.path(folder, "curves.json"), digits = NA, auto_unbox = TRUE, pretty = TRUE)
