# Rscript tests/reference/outcomes.R ACTG175_CSV > tests/reference/outcomes.json
# ACTG175.csv stands in the Python package lifelines. What a run on a continuous endpoint (the CD4 count at 20 weeks) and on a
# binary one (a count of 350 or more then) says of the primary contrast, and the assurance of a planned trial by quadrature.
suppressPackageStartupMessages({library(jsonlite); library(sandwich)})
args <- commandArgs(trailingOnly = TRUE)
a <- subset(read.csv(args[1]), arms %in% c(0, 1)); a$strat <- factor(a$strat); a$high <- as.integer(a$cd420 >= 350)

# Continuous: Welch; differences within strata weighted by their share, Satterthwaite; analysis of covariance by arm (Lin 2013)
welch <- t.test(cd420 ~ arms, a)
s <- split(a, a$strat); w <- sapply(s, nrow) / nrow(a)
d <- sapply(s, function(x) diff(tapply(x$cd420, x$arms, mean)))
v <- sapply(s, function(x) tapply(x$cd420, x$arms, var) / tapply(x$cd420, x$arms, length))
k <- sapply(s, function(x) tapply(x$cd420, x$arms, length) - 1)
se <- sqrt(sum(w^2 * colSums(v))); df <- sum(w^2 * colSums(v))^2 / sum(t(t(v) * w^2)^2 / k)
p <- 2 * pt(-abs(sum(w * d) / se), df)
centred <- transform(a, c40 = cd40 - mean(cd40), s2 = (strat == 2) - mean(strat == 2), s3 = (strat == 3) - mean(strat == 3))
lin <- lm(cd420 ~ arms * (c40 + s2 + s3), centred)

# Binary: Cochran, Mantel and Haenszel; in one stratum
cmh <- mantelhaen.test(table(a$arms, a$high, a$strat), correct = FALSE)
flat <- chisq.test(table(a$arms, a$high), correct = FALSE)

# Subgroups by prior therapy: Welch in each, Cochran's Q
g <- lapply(s, function(x) t.test(cd420 ~ arms, x))
gd <- sapply(g, function(x) -diff(x$estimate)); gd <- -gd; gs <- sapply(g, function(x) x$stderr)
q <- sum((gd - sum(gd / gs^2) / sum(1 / gs^2))^2 / gs^2)

# Assurance: the power of the normal test over a normal distribution of the benefit
assurance <- function(n, sd, b, e) {
  s <- sqrt(4 * sd^2 / n)
  integrate(function(t) pnorm(t / s - qnorm(.975)) * dnorm(t, b, e), b - 12 * e, b + 12 * e, rel.tol = 1e-12)$value
}
cat(toJSON(list(
  meta = list(R = R.version.string, sandwich = as.character(packageVersion("sandwich"))),
  welch = list(value = unname(diff(welch$estimate)), low = -welch$conf.int[2], high = -welch$conf.int[1], p = welch$p.value),
  stratified = list(value = sum(w * d), se = se, df = df, p = p),
  covariance = list(value = unname(coef(lin)["arms"]), hc3 = sqrt(vcovHC(lin, "HC3")["arms", "arms"])),
  cmh = list(chi_square = unname(cmh$statistic), p = cmh$p.value),
  chi_square = list(pearson = unname(flat$statistic), n = nrow(a)),
  subgroups = list(value = unname(gd), se = unname(gs), q = q, p = pchisq(q, length(gd) - 1, lower.tail = FALSE),
    low = unname(sapply(g, function(x) -x$conf.int[2])), high = unname(sapply(g, function(x) -x$conf.int[1]))),
  assurance = list(n = 200, sd = 100, benefit = 40, se = 15, value = assurance(200, 100, 40, 15))
), digits = NA, auto_unbox = TRUE, pretty = TRUE))
