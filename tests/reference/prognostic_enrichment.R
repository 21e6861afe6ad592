# The sample sizes of BioPET (Kerr et al. 2017) by event rate, power and effect, for prognostic enrichment of a binary endpoint.
# Rscript tests/reference/prognostic_enrichment.R path/to/BioPET/R/sample_size.R writes prognostic_enrichment.json beside this file.
suppressPackageStartupMessages(library(jsonlite))
source(commandArgs(trailingOnly = TRUE)[1])
cases <- expand.grid(event_rate = c(0.05, 0.12, 0.3, 0.55), reduction = c(0.2, 0.35), power = c(0.8, 0.9), alpha = c(0.025, 0.05))
cases$patients <- with(cases, mapply(sample_size, event_rate, reduction, alpha, power, MoreArgs = list(alternative = "one.sided")))
out <- list(r_call = "BioPET:::sample_size(event.rate, reduction.under.treatment, alpha, power, \"one.sided\")",
            versions = list(BioPET = "0.2.2", R = paste(R.version$major, R.version$minor, sep = ".")),
            outputs = list(cases = cases))
write_json(out, "tests/reference/prognostic_enrichment.json", digits = NA, auto_unbox = TRUE)
