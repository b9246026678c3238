"""Speed, measured beside a floor in the same run: machines differ and are noisy, ratios tell."""
