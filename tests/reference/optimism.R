# Optimism of a Cox model by rms::validate, and the same spelled out with coxph driven to its root, on the same samples.
# Rscript tests/reference/optimism.R (in the repository) writes optimism.json beside it.
suppressPackageStartupMessages({library(survival); library(rms); library(jsonlite)})
d <- read.csv("tests/reference/data/gbsg2_split.csv")
d$hormone <- as.integer(d$horTh == "yes")
d <- d[seq_len(300), c("time", "cens", "hormone", "age", "pnodes", "progrec", "estrec", "tsize")]
B <- 40L; n <- nrow(d); f <- Surv(time, cens) ~ hormone + age + pnodes + progrec + estrec + tsize
original <- cph(f, d, x = TRUE, y = TRUE, eps = 1e-12)
set.seed(2021)
# With debug the samples are printed, so that they are those that validate() used.
printed <- capture.output(validated <- rms::validate(original, B = B, debug = TRUE))
starts <- grep("Subscripts of training sample", printed); ends <- grep("Subscripts of test sample", printed)
rows <- t(mapply(function(a, b) {
  lines <- sub("^ *\\[[0-9]+\\]", "", printed[(a + 1):(b - 1)]); scan(text = lines, quiet = TRUE)
}, starts, ends))
stopifnot(nrow(rows) == B, ncol(rows) == n)
tight <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 50)
# What validate() asks of its fits to a sample: it stops once the log-likelihood moves by less than 1e-4 of itself.
loose <- coxph.control(eps = 1e-4, iter.max = 10)
both <- function(fit, where, control = tight) {
  where$lp <- as.vector(as.matrix(where[names(coef(fit))]) %*% coef(fit))
  c(C = unname(concordance(Surv(time, cens) ~ lp, where, reverse = TRUE)$concordance),
    slope = unname(coef(coxph(Surv(time, cens) ~ lp, where, control = control))))
}
apparent <- both(coxph(f, d, control = tight), d)
each <- lapply(seq_len(B), function(b) { s <- d[rows[b, ], ]; m <- coxph(f, s, control = tight); list(sample = both(m, s), original = both(m, d)) })
as_validated <- sapply(seq_len(B), function(b) both(coxph(f, d[rows[b, ], ], control = loose), d, loose))
print(c(validate = validated["Slope", "test"], spelled_out = mean(as_validated["slope", ])), digits = 12)
print(c(validate = validated["Dxy", "test"], spelled_out = 2 * mean(as_validated["C", ]) - 1), digits = 12)
out <- list(
  r_call = "rms::validate(cph(Surv(time, cens) ~ hormone + age + pnodes + progrec + estrec + tsize, first 300 rows), B = 40)",
  versions = list(R = as.character(getRversion()), survival = as.character(packageVersion("survival")), rms = as.character(packageVersion("rms"))),
  data = "gbsg2_split, first 300 rows", samples = rows - 1,
  validate = list(Dxy = as.list(validated["Dxy", ]), Slope = as.list(validated["Slope", ])),
  apparent = as.list(apparent), C_sample = sapply(each, function(e) e$sample[["C"]]), C_original = sapply(each, function(e) e$original[["C"]]),
  slope_original = sapply(each, function(e) e$original[["slope"]]),
  stopped_early = list(C_original = mean(as_validated["C", ]), slope_original = mean(as_validated["slope", ])))
write_json(out, "tests/reference/optimism.json", digits = NA, auto_unbox = TRUE)
