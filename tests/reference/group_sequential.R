# Designs that the stored cases of rpact leave out: other levels, other parameters, beta spending of each family, bounds for
# information that is not what was planned, and crossing probabilities by multivariate normal integrals (Miwa).
# Rscript tests/reference/group_sequential.R (in the repository) writes group_sequential.json beside it.
suppressPackageStartupMessages({library(rpact); library(mvtnorm); library(jsonlite)})
design <- function(...) {
  d <- getDesignGroupSequential(tolerance = 1e-10, ...)
  ch <- getDesignCharacteristics(d)
  k <- d$kMax
  list(fractions = d$informationRates, critical = d$criticalValues, alpha_spent = d$alphaSpent,
       futility = if (k > 1) d$futilityBounds else numeric(0), drift = sqrt(ch$shift), inflation = ch$inflationFactor,
       rejection = as.vector(ch$rejectionProbabilities), futility_probability = as.vector(ch$futilityProbabilities),
       asn = c(ch$averageSampleNumber1, ch$averageSampleNumber01, ch$averageSampleNumber0))
}
four <- c(0.3, 0.5, 0.8, 1)
spend <- function(a, t) 2 * (1 - pnorm(qnorm(1 - a / 2) / sqrt(pmin(t, 1))))
designs <- list(
  obf_005 = design(alpha = 0.005, beta = 0.2, informationRates = four, typeOfDesign = "OF"),
  pocock_05 = design(alpha = 0.05, beta = 0.2, informationRates = four, typeOfDesign = "P"),
  wang_tsiatis_10 = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "WT", deltaWT = 0.1),
  haybittle_peto_25 = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "HP", constantBoundsHP = 2.5),
  kim_demets_15 = design(alpha = 0.05, beta = 0.2, informationRates = four, typeOfDesign = "asKD", gammaA = 1.5),
  hwang_0 = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "asHSD", gammaA = 0),
  user = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "asUser", userAlphaSpending = c(0.001, 0.004, 0.012, 0.025)),
  two_sided_wt = design(alpha = 0.1, beta = 0.2, sided = 2, informationRates = four, typeOfDesign = "WT", deltaWT = 0.4),
  two_sided_hsd = design(alpha = 0.1, beta = 0.2, sided = 2, informationRates = four, typeOfDesign = "asHSD", gammaA = 1),
  beta_hsd = design(alpha = 0.025, beta = 0.2, informationRates = four, typeOfDesign = "asP", typeBetaSpending = "bsHSD", gammaB = -2),
  beta_kd_binding = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "asOF", typeBetaSpending = "bsKD", gammaB = 2, bindingFutility = TRUE),
  beta_obf_binding = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "asKD", gammaA = 2, typeBetaSpending = "bsOF", bindingFutility = TRUE),
  beta_pocock = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "asHSD", gammaA = -3, typeBetaSpending = "bsP"),
  pocock_binding_z = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "P", futilityBounds = c(-0.5, 0.25, 1), bindingFutility = TRUE),
  obf_z = design(alpha = 0.025, beta = 0.1, informationRates = four, typeOfDesign = "OF", futilityBounds = c(-6, 0.25, 1)),
  over_run = design(alpha = 0.025, beta = 0.1, informationRates = c(0.55, 0.8, 1.1) / 1.1, typeOfDesign = "asUser",
                    userAlphaSpending = c(spend(0.025, c(0.55, 0.8)), 0.025)),
  under_run = design(alpha = 0.025, beta = 0.1, informationRates = c(0.45, 0.9) / 0.9, typeOfDesign = "asUser",
                     userAlphaSpending = c(spend(0.025, 0.45), 0.025))
)
# P(first crossing at look k) as a difference of two integrals over a box.
crossing <- function(upper, lower, information, means) {
  k <- length(upper)
  R <- outer(information, information, function(a, b) sqrt(pmin(a, b) / pmax(a, b)))
  box <- function(n, lo, hi) if (n == 1) pnorm(hi, means[1]) - pnorm(lo, means[1]) else
    as.numeric(pmvnorm(lo, hi, mean = means[1:n], corr = R[1:n, 1:n], algorithm = Miwa(steps = 4096)))
  above <- sapply(1:k, function(n) box(n, c(head(lower[1:n], -1), upper[n]), c(head(upper[1:n], -1), Inf)))
  below <- sapply(1:k, function(n) box(n, c(head(lower[1:n], -1), -Inf), c(head(upper[1:n], -1), lower[n])))
  list(upper = upper, lower = lower, information = information, means = means, above = above, below = below)
}
crossings <- list(
  delayed = crossing(c(2.8, 2.4, 2.0), c(-0.5, 0.3, 1.0), c(30, 70, 110), c(0.1, 0.9, 2.9)),
  crossing_hazards = crossing(c(2.5, 2.4, 2.3, 2.2), c(-1, -0.5, 0.2, 2.2), c(10, 25, 60, 100), c(-1.2, -0.4, 1.1, 2.4)),
  fading = crossing(c(3, 2.5, 2.2), c(0, 0.5, 1), c(50, 80, 100), c(2.5, 2.2, 1.5)),
  harmful = crossing(c(2.4, 2.2, 2.0), c(-2.4, -2.2, -2.0), c(1, 2, 4), c(-1, -2.5, -3))
)
out <- list(r = R.version.string, packages = list(rpact = as.character(packageVersion("rpact")), mvtnorm = as.character(packageVersion("mvtnorm"))),
            designs = designs, crossings = crossings)
write_json(out, "tests/reference/group_sequential.json", digits = I(17), auto_unbox = TRUE, pretty = TRUE, na = "null")
