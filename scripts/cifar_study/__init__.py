"""Parts of `scripts/reproduce_cifar`: configurations, summaries of runs, tables, figure, page."""
