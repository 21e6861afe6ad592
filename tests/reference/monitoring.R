# Plans of means and rates, and analyses of running trials, that the stored cases of rpact leave out: futility bounds by z,
# binding and not, unequal allocation with looks, low rates that are good, optimal allocation, families by other names.
# Rscript tests/reference/monitoring.R (in the repository) writes monitoring.json beside it.
suppressPackageStartupMessages({library(rpact); library(jsonlite)})
setLogLevel("DISABLED")
looks <- c(0.4, 0.7, 1)
futile <- getDesignGroupSequential(informationRates = looks, typeOfDesign = "asKD", gammaA = 2, alpha = 0.025, beta = 0.2,
                                   futilityBounds = c(-0.2, 0.5))
plan <- function(x) list(
  patients = x$maxNumberOfSubjects, expected = x$expectedNumberOfSubjectsH1, expected_null = x$expectedNumberOfSubjectsH0,
  reject = as.vector(x$rejectPerStage), futility = as.vector(x$futilityPerStage),
  bounds = as.vector(x$criticalValuesEffectScale), futility_bounds = as.vector(x$futilityBoundsEffectScale)
)
two_sided <- getSampleSizeMeans(
  getDesignGroupSequential(informationRates = c(0.5, 0.75, 1), typeOfDesign = "OF", alpha = 0.05, sided = 2, beta = 0.1),
  alternative = 0.4, stDev = 1)
optimal <- getSampleSizeRates(getDesignGroupSequential(kMax = 1, alpha = 0.025, beta = 0.2), pi1 = 0.25, pi2 = 0.4,
                              allocationRatioPlanned = 0)
margin <- getPowerRates(futile, pi1 = c(0.2, 0.35), pi2 = 0.3, thetaH0 = 0.1, maxNumberOfSubjects = 400,
                        directionUpper = FALSE, allocationRatioPlanned = 2)
events <- getDataset(cumulativeEvents = c(80, 140, 200), cumulativeLogRanks = c(0.8, 1.3, 1.9))
analysis <- function(type, binding, ...) {
  d <- getDesignGroupSequential(informationRates = looks, typeOfDesign = type, alpha = 0.025, beta = 0.2,
                                futilityBounds = c(0, 0.5), bindingFutility = binding, ...)
  a <- getAnalysisResults(d, events, directionUpper = TRUE)
  list(repeated_p = as.vector(a$repeatedPValues), p = a$finalPValues[3], low = a$finalConfidenceIntervalLowerBounds[3],
       high = a$finalConfidenceIntervalUpperBounds[3], median_unbiased = a$medianUnbiasedEstimates[3],
       conditional_rejection = as.vector(a$conditionalRejectionProbabilities)[1:2],
       repeated_low = as.vector(a$repeatedConfidenceIntervalLowerBounds),
       repeated_high = as.vector(a$repeatedConfidenceIntervalUpperBounds))
}
out <- list(
  r = R.version.string, packages = list(rpact = as.character(packageVersion("rpact"))),
  plans = list(
    means = plan(getSampleSizeMeans(futile, alternative = 0.3, stDev = 1.1, allocationRatioPlanned = 1.5)),
    rates = plan(getSampleSizeRates(futile, pi1 = 0.25, pi2 = 0.4, allocationRatioPlanned = 1.5))
  ),
  two_sided = list(patients = two_sided$maxNumberOfSubjects, expected = two_sided$expectedNumberOfSubjectsH1,
                   expected_null = two_sided$expectedNumberOfSubjectsH0,
                   upper = as.vector(two_sided$criticalValuesEffectScaleUpper),
                   lower = as.vector(two_sided$criticalValuesEffectScaleLower)),
  optimal = list(patients = optimal$nFixed, ratio = optimal$allocationRatioPlanned),
  margin = list(power = margin$overallReject, expected = margin$expectedNumberOfSubjects,
                futility = margin$futilityPerStage, bounds = margin$criticalValuesEffectScale[, 1]),
  analyses = list(
    pocock_spending_binding = analysis("asP", TRUE), pocock_spending = analysis("asP", FALSE),
    obrien_fleming = analysis("OF", FALSE), kim_demets = analysis("asKD", FALSE, gammaA = 2),
    hwang_binding = analysis("asHSD", TRUE, gammaA = -2)
  )
)
write(toJSON(out, digits = I(15), auto_unbox = TRUE, pretty = TRUE, na = "null"), "tests/reference/monitoring.json")
