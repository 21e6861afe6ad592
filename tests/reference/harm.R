# Incidence rates with their ratios, and differences of cumulative incidence by stratum, on pbc's randomised patients: the
# event is death (status 2), transplantation (1) competes. Rscript tests/reference/harm.R (in the repository) writes harm.json.
suppressPackageStartupMessages({library(survival); library(jsonlite)})
folder <- "tests/reference"
pbc <- read.csv(file.path(folder, "data", "pbc_rct.csv"))
pbc$years <- pbc$time / 365.25
arms <- lapply(1:2, function(a) {
  own <- pbc[pbc$trt == a, ]; x <- sum(own$status == 2); years <- sum(own$years)
  p <- pyears(Surv(years, status == 2) ~ 1, own, scale = 1)
  list(patients = nrow(own), events = x, years = years, pyears = p$pyears, event = p$event, rate = x / years,
       limits = as.vector(poisson.test(x, years)$conf.int), limits90 = as.vector(poisson.test(x, years, conf.level = 0.9)$conf.int))
})
ratio <- function(x, t, level = 0.95) {
  z <- poisson.test(x, t, conf.level = level)
  list(events = x, exposure = t, ratio = unname(z$estimate), limits = as.vector(z$conf.int), p = z$p.value)
}
pair <- ratio(c(arms[[2]]$events, arms[[1]]$events), c(arms[[2]]$years, arms[[1]]$years))
more <- list(ratio(c(0, 7), c(31.5, 12)), ratio(c(9, 2), c(4.25, 8)), ratio(c(3, 3), c(1, 10), 0.9))
# Differences of Aalen and Johansen's incidence at 5 years by edema, independent arms; survfit's standard errors.
difference <- function(own, at = 1826) {
  one <- function(a) {
    z <- summary(survfit(Surv(time, factor(status, 0:2)) ~ 1, own[own$trt == a, ]), times = at)
    c(z$pstate[1, 3], z$std.err[1, 3])
  }
  c0 <- one(1); c1 <- one(2)
  list(control = c0[1], experimental = c1[1], difference = c1[1] - c0[1], se = sqrt(c0[2]^2 + c1[2]^2))
}
strata <- list(all = difference(pbc), young = difference(pbc[pbc$age < 50, ]), old = difference(pbc[pbc$age >= 50, ]))
out <- list(r = R.version.string, packages = sapply("survival", function(p) as.character(packageVersion(p))),
            arms = arms, ratio = pair, more_ratios = more, difference = strata)
write_json(out, file.path(folder, "harm.json"), digits = NA, auto_unbox = TRUE, pretty = TRUE)
