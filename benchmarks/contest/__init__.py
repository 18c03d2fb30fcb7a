"""What benchmarks share that let contenders learn from the same draws: jobs, processes, cells of a result file, paired differences."""
