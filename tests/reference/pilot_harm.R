# The first skin reaction of CDISC's pilot study, derived in R from the transport files alone: rates, cumulative incidences and
# cause-specific hazard ratios. Rscript tests/reference/pilot_harm.R FOLDER (of adsl.xpt and adae.xpt) writes pilot_harm.json.
suppressPackageStartupMessages({library(survival); library(cmprsk); library(jsonlite); library(foreign)})
folder <- commandArgs(trailingOnly = TRUE)[1]
adsl <- read.xport(file.path(folder, "adsl.xpt")); adae <- read.xport(file.path(folder, "adae.xpt"))
as_days <- function(x) if (is.numeric(x)) x else as.numeric(as.Date(as.character(x)))
adsl$start <- as_days(adsl$TRTSDT); stop_treatment <- as_days(adsl$TRTEDT)
leave <- if ("RFENDT" %in% names(adsl)) as_days(adsl$RFENDT) else as_days(adsl$RFENDTC)
adsl$end <- ifelse(!is.na(leave) & leave < stop_treatment, leave, stop_treatment)
skin <- subset(adae, as.character(AEBODSYS) == "SKIN AND SUBCUTANEOUS TISSUE DISORDERS" & as.character(TRTEMFL) == "Y")
skin$onset <- as_days(skin$ASTDT)
skin <- merge(skin[, c("USUBJID", "onset")], adsl[, c("USUBJID", "start", "end")])
skin <- skin[!is.na(skin$onset) & skin$onset >= skin$start & skin$onset <= skin$end, ]
first <- tapply(skin$onset, as.character(skin$USUBJID), min)
adsl$first <- first[as.character(adsl$USUBJID)]
adsl <- adsl[as.character(adsl$ITTFL) == "Y" & !is.na(adsl$start) & !is.na(adsl$end), ]
died <- as.character(adsl$DTHFL) == "Y"; left <- as.character(adsl$DISCONFL) == "Y"
adsl$time <- ifelse(is.na(adsl$first), adsl$end, adsl$first) - adsl$start + 1
# A death without a date is on the last day of the study, so it ends the time at risk only where treatment went on until then.
adsl$cause <- ifelse(!is.na(adsl$first), 1, ifelse(died & leave <= adsl$end, 2, ifelse(left, 3, 0)))
arms <- c("Placebo", "Xanomeline High Dose", "Xanomeline Low Dose"); adsl$arm <- as.character(adsl$TRT01P)
of_arm <- lapply(arms, function(a) {
  own <- adsl[adsl$arm == a, ]; x <- sum(own$cause == 1); years <- sum(own$time) / 365.25
  curve <- summary(survfit(Surv(time, factor(cause, 0:3)) ~ 1, own), times = 90)
  cmp <- timepoints(cuminc(own$time, own$cause), 90)$est
  list(arm = a, patients = nrow(own), causes = as.vector(table(factor(own$cause, 0:3))), years = years, rate = 100 * x / years,
       limits = 100 * as.vector(poisson.test(x, years)$conf.int), incidence = curve$pstate[1, 2], se = curve$std.err[1, 2],
       cmprsk = unname(cmp[grepl(" 1$", rownames(cmp)), 1]))
})
x <- sapply(of_arm, function(a) a$causes[2]); t <- sapply(of_arm, function(a) a$years)
two <- adsl[adsl$arm %in% arms[1:2], ]; two$high <- as.integer(two$arm == arms[2])
pair <- poisson.test(x[2:1], t[2:1])
cox <- coxph(Surv(time, cause == 1) ~ high, two, control = coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 50))
out <- list(r = R.version.string, packages = sapply(c("survival", "cmprsk"), function(p) as.character(packageVersion(p))),
            arms = of_arm, ratio = unname(pair$estimate), ratio_limits = as.vector(pair$conf.int), ratio_p = pair$p.value,
            log_hazard_ratio = unname(coef(cox)), log_hazard_ratio_se = sqrt(as.vector(vcov(cox))))
write_json(out, file.path("tests/reference", "pilot_harm.json"), digits = NA, auto_unbox = TRUE, pretty = TRUE)
