# Value at risk by Monte Carlo: `simulate` is one item (a seed), `merge` puts all of them together. See README.md.

# The generators of today, whatever the R in the image takes by default.
RNGkind("Mersenne-Twister", "Inversion", "Rejection")
# Products of matrices in R's own order of sums instead of that of the BLAS library at hand.
options(matprod = "internal")

LEVELS <- c(0.95, 0.99, 0.999)
# Share of the worst losses that an item passes on: more than 1 minus the lowest level.
TAIL <- 0.1
SAMPLES_MAX <- 1e6

fail <- function(...) {
    message(...)
    quit(status = 2)
}

place_in <- Sys.getenv("IEXEC_IN")
place_out <- Sys.getenv("IEXEC_OUT")
# 17 digits are the number itself.
exact <- function(x) sprintf("%.17g", x)

write_rows <- function(name, rows) {
    write.table(rows, file.path(place_out, name), sep = ",", quote = FALSE, row.names = FALSE)
}

# `tail`: the worst losses of `samples`, the worst first.
quantiles <- function(tail, samples) {
    worse <- round((1 - LEVELS) * samples)
    if (any(worse < 1)) fail("too few samples for a level of ", max(LEVELS))
    data.frame(
        level = LEVELS,
        samples = sprintf("%.0f", samples),
        value_at_risk = exact(tail[worse]),
        expected_shortfall = exact(cumsum(tail)[worse] / worse)
    )
}

simulate <- function(arguments) {
    settings <- list(samples = 100000, days = 10, window = 1260)
    if (length(arguments) < 1) fail("the first argument names the input with the prices")
    prices_name <- arguments[1]
    rest <- arguments[-1]
    while (length(rest) > 0) {
        name <- sub("^--", "", rest[1])
        value <- suppressWarnings(as.numeric(rest[2]))
        if (!(name %in% names(settings)) || is.na(value) || value < 1 || value != floor(value)) {
            fail("`", paste(rest[seq_len(min(2, length(rest)))], collapse = " "), "` should be --samples N, --days N or --window N")
        }
        settings[[name]] <- value
        rest <- rest[-(1:2)]
    }
    if (settings$samples > SAMPLES_MAX) fail("more than ", SAMPLES_MAX, " samples an item: use more items")
    item <- trimws(readLines(file.path(place_in, "item"), n = 1, warn = FALSE))
    seed <- suppressWarnings(as.integer(item))
    if (is.na(seed)) fail("the item should be a seed, such as 42, and is `", item, "`")
    file <- file.path(place_in, prices_name)
    if (!file.exists(file)) fail("there is no input `", prices_name, "`: give it with --input")

    prices <- as.matrix(read.csv(gzfile(file), check.names = FALSE)[, -1])
    if (!is.numeric(prices) || any(!is.finite(prices)) || any(prices <= 0)) fail("every price has to be a positive number")
    if (nrow(prices) <= settings$window) fail("the prices have ", nrow(prices), " days, --window asks for more")
    returns <- diff(log(tail(prices, settings$window + 1)))
    drift <- colMeans(returns) * settings$days
    root <- chol(cov(returns) * settings$days)

    set.seed(seed)
    stocks <- ncol(returns)
    draws <- matrix(rnorm(settings$samples * stocks), ncol = stocks)
    grown <- exp(sweep(draws %*% root, 2, drift, "+"))
    # A portfolio of equal parts of its worth.
    loss <- 1 - (grown %*% rep(1 / stocks, stocks))[, 1]
    worst <- sort(loss, decreasing = TRUE, method = "radix")[seq_len(ceiling(TAIL * settings$samples))]

    write_rows("risk.csv", cbind(seed = seed, quantiles(worst, settings$samples)))
    writeLines(c(exact(settings$samples), exact(worst)), file.path(place_out, "tail.txt"))
}

merge_items <- function() {
    files <- sort(list.files(place_in, pattern = "^tail\\.txt$", recursive = TRUE), method = "radix")
    if (length(files) == 0) fail("there is no tail.txt of any item")
    parts <- lapply(files, function(name) as.numeric(readLines(file.path(place_in, name))))
    samples <- sum(vapply(parts, function(part) part[1], 0))
    tails <- lapply(parts, function(part) part[-1])
    all <- sort(unlist(tails), decreasing = TRUE, method = "radix")
    # What an item kept to itself is no worse than the last loss that it passed on.
    kept_back <- max(vapply(tails, function(tail) tail[length(tail)], 0))
    if (all[round((1 - min(LEVELS)) * samples)] < kept_back) fail("the items' tails are too short to be merged")
    write_rows("risk.csv", cbind(items = length(files), quantiles(all, samples)))
}

arguments <- commandArgs(trailingOnly = TRUE)
switch(arguments[1], simulate = simulate(arguments[-1]), merge = merge_items())
