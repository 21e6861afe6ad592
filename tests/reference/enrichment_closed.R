# Rscript tests/reference/enrichment_closed.R > tests/reference/enrichment_closed.json
# The closed test of a subgroup and the full population: every intersection test, rates and log-rank statistics, both
# populations kept and one dropped, with repeated p-values. rpact needs mnormt for Spiessens and Debois, so that its p is
# spelled out with mvtnorm.
suppressPackageStartupMessages({library(rpact); library(jsonlite); library(mvtnorm)})
setLogLevel("DISABLED")
d <- getDesignInverseNormal(kMax = 2, typeOfDesign = "asOF", alpha = .025, informationRates = c(.4, 1))
tests <- c("Simes", "Bonferroni", "Sidak")
plain <- function(m) unname(as.matrix(m))
one <- function(x, test, direction) {
  st <- getStageResults(d, x, intersectionTest = test, stratifiedAnalysis = TRUE, directionUpper = direction)
  cl <- getClosedCombinationTestResults(st)
  rp <- getRepeatedPValues(st)
  list(z = plain(st$testStatistics), p = plain(cl$adjustedStageWisePValues), combined = plain(cl$overallAdjustedTestStatistics),
       rejected = plain(cl$rejected), repeated_p = plain(rp))
}
rates <- getDataset(S1 = getDataset(sampleSize1 = c(60, 90), sampleSize2 = c(60, 90), events1 = c(34, 52), events2 = c(22, 36)),
                    R = getDataset(sampleSize1 = c(80, 110), sampleSize2 = c(80, 110), events1 = c(38, 55), events2 = c(35, 47)))
# rpact takes increments with the roots of the events, not of the variances: the same where each event carries 1/4.
S1 <- getDataset(overallEvents = c(40, 100), overallExpectedEvents = c(45.1, 110.9), overallVarianceEvents = c(10, 25))
R <- getDataset(overallEvents = c(60, 144), overallExpectedEvents = c(62.1, 148.4), overallVarianceEvents = c(15, 36))
gone <- getDataset(overallEvents = c(60, NA), overallExpectedEvents = c(62.1, NA), overallVarianceEvents = c(15, NA))
survival <- getDataset(S1 = S1, R = R); dropped <- getDataset(S1 = S1, R = gone)
out <- list(R_version = as.character(getRversion()), packages = list(rpact = as.character(packageVersion("rpact"))),
            critical_values = d$criticalValues)
for (what in c("rates", "survival", "dropped")) {
  out[[what]] <- setNames(lapply(tests, function(t) one(get(what), t, what == "rates")), tests)
}
spiessens <- function(z, share) 1 - pmvnorm(upper = rep(max(z), 2), corr = matrix(c(1, sqrt(share), sqrt(share), 1), 2), algorithm = Miwa(steps = 2048))[1]
out$spiessens_debois <- list(z = rbind(c(2.1, .4), c(1, 2.5), c(-.5, -.2), c(3.3, 3.1)), share = c(.3, .7, .5, .9))
out$spiessens_debois$p <- sapply(1:4, function(i) spiessens(out$spiessens_debois$z[i, ], out$spiessens_debois$share[i]))
out$packages$mvtnorm <- as.character(packageVersion("mvtnorm"))
cat(toJSON(out, auto_unbox = TRUE, digits = I(16), na = "null", pretty = TRUE))
