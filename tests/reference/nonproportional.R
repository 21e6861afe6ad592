# Integrals behind weighted log-rank tests, restricted means and milestones under a scenario (Yung and Liu 2020), spelled
# out and integrated twice: piece by piece at rel.tol 1e-12 ("exact"), and as gsDesign2 does, in one call at R's default
# tolerance ("loose"), which shows how far its stored numbers are from the integrals they stand for.
# Rscript tests/reference/nonproportional.R (in the repository) writes nonproportional.json beside it.
suppressPackageStartupMessages(library(jsonlite))
delayed <- list(lambda = log(2) / 12, cut = 4, hr = c(1, .6), eta = c(.002, .002), p1 = .5, rate = c(5, 10, 20), from = c(0, 2, 4), R = 12)
crossing <- list(lambda = .07, cut = 6, hr = c(1.4, .5), eta = c(.004, .012), p1 = 2 / 3, rate = c(8, 0, 15), from = c(0, 3, 5), R = 14)
cumhaz <- function(x, s, hr) s$lambda * (pmin(x, s$cut) * hr[1] + pmax(x - s$cut, 0) * hr[2])
hazard <- function(x, s, hr) s$lambda * ifelse(x < s$cut, hr[1], hr[2])
entered <- function(y, s) { y <- pmin(pmax(y, 0), s$R); to <- c(s$from[-1], s$R)
  n <- 0; all <- 0; for (i in seq_along(s$rate)) { n <- n + s$rate[i] * pmin(pmax(y - s$from[i], 0), to[i] - s$from[i]); all <- all + s$rate[i] * (to[i] - s$from[i]) }; n / all }
integral <- function(f, a, b, cuts, exact) { if (!exact) return(integrate(f, a, b)$value)
  e <- sort(unique(pmin(pmax(c(a, 1e-9, 1e-6, 1e-3, .1, cuts, b), a), b)))
  sum(sapply(seq_len(length(e) - 1), function(i) integrate(f, e[i], e[i + 1], rel.tol = 1e-12, subdivisions = 1000L)$value)) }
wlr <- function(s, time, rho, gamma, exact, star = Inf) { p <- c(1 - s$p1, s$p1); cuts <- c(s$cut, star, time - s$R, time - s$from)
  one <- function(h0, h1, e, what) integral(function(x) {
    s0 <- exp(-cumhaz(x, s, h0)); s1 <- exp(-cumhaz(x, s, h1)); a <- entered(time - x, s)
    r0 <- p[1] * s0 * exp(-e[1] * x) * a; r1 <- p[2] * s1 * exp(-e[2] * x) * a
    both <- p[1] * exp(-cumhaz(pmin(x, star), s, h0)) + p[2] * exp(-cumhaz(pmin(x, star), s, h1)); w <- both^rho * (1 - both)^gamma
    v <- switch(what, variance = w^2 * r0 * r1 / (r0 + r1)^2 * (r0 * hazard(x, s, h0) + r1 * hazard(x, s, h1)),
                score = w * r0 * r1 / (r0 + r1) * (hazard(x, s, h0) - hazard(x, s, h1)))
    ifelse(is.na(v), 0, v) }, 0, time, cuts, exact)
  n <- c(1, 1); m <- p[1] * n + p[2] * s$hr
  list(variance = one(n, s$hr, s$eta, "variance"), null_variance = one(m, m, s$eta, "variance"), score = one(n, s$hr, s$eta, "score")) }
means <- function(s, tau, time, exact) { p <- c(1 - s$p1, s$p1); v <- list(rmst = c(), milestone = c()); area <- c(); at <- c()
  for (arm in 1:2) { hr <- if (arm == 1) c(1, 1) else s$hr; S <- function(x) exp(-cumhaz(x, s, hr)); cuts <- c(s$cut, time - s$R, time - s$from)
    risk <- function(x) S(x) * exp(-s$eta[arm] * x) * entered(time - x, s)
    left <- function(x) sapply(x, function(y) integral(S, y, tau, pmax(s$cut, y), exact))
    v$rmst[arm] <- integral(function(x) left(x)^2 * hazard(x, s, hr) / risk(x), 0, tau, cuts, exact) / p[arm]
    v$milestone[arm] <- S(tau)^2 * integral(function(x) hazard(x, s, hr) / risk(x), 0, tau, cuts, exact) / p[arm]
    area[arm] <- integral(S, 0, tau, cuts, exact); at[arm] <- S(tau) }
  list(rmst = list(value = area[2] - area[1], variance = sum(v$rmst)), milestone = list(value = at[2] - at[1], variance = sum(v$milestone))) }
both <- function(f) list(exact = f(TRUE), loose = f(FALSE))
out <- list(r = R.version.string,
  delayed = list(fh_0_05 = lapply(c(`18` = 18, `27` = 27, `36` = 36), function(t) both(function(e) wlr(delayed, t, 0, .5, e))),
                 fh_0_1 = both(function(e) wlr(delayed, 36, 0, 1, e)), mb_6 = both(function(e) wlr(delayed, 36, -1, 0, e, 6)),
                 means = both(function(e) means(delayed, 18, 36, e))),
  crossing = list(fh_0_1 = list(exact = wlr(crossing, 30, 0, 1, TRUE)), fh_1_1 = list(exact = wlr(crossing, 10, 1, 1, TRUE)),
                  mb_5 = list(exact = wlr(crossing, 30, -1, 0, TRUE, 5)), means = list(exact = means(crossing, 20, 30, TRUE))))
write_json(out, "tests/reference/nonproportional.json", digits = 15, auto_unbox = TRUE, pretty = TRUE)
