# Regression trees for the tests of trees on scores: rpart's greedy splits of the logarithm of time on five numeric covariates.
# Rscript tests/reference/score_tree.R (in the repository) writes score_tree.json beside it.
suppressPackageStartupMessages({library(rpart); library(jsonlite)})
folder <- "tests/reference"
d <- head(read.csv(file.path(folder, "data", "gbsg2.csv")), 200)
call <- 'rpart(log(time) ~ age + tsize + pnodes + progrec + estrec, d, method = "anova", control = rpart.control(maxdepth = depth, cp = 0, minsplit = 2, minbucket = 1, maxsurrogate = 0, maxcompete = 0, xval = 0))'
trees <- lapply(1:3, function(depth) {
  f <- eval(parse(text = call))
  leaf <- f$frame$var == "<leaf>"
  list(depth = depth, leaf = match(f$where, which(leaf)), means = f$frame$yval[leaf], sizes = f$frame$n[leaf])
})
out <- list(r_call = call, data = "first 200 rows of gbsg2", versions = list(rpart = as.character(packageVersion("rpart")),
            R = as.character(getRversion())), outputs = list(trees = trees))
write_json(out, file.path(folder, "score_tree.json"), digits = 15, auto_unbox = TRUE)
