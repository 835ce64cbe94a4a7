"""Reads the draws of a learning coefficient with xarray, and with ArviZ where it is installed.

Usage: read_draws.py RUN/measurements.zarr MEASURE STEP

Checks that the losses of the examples, all of them kept, average to the trace, that ids are small integers, and that
ArviZ finds the R-hat and the effective sample size that the record tells. Exits with a message at the first difference.
"""

import sys
import warnings

import numpy as np
import xarray as xr


def check_close(what, found, expected, tolerance):
    if not np.allclose(found, expected, rtol=tolerance, atol=tolerance):
        sys.exit(f"{what}: found {found}, expected {expected}")


def main():
    path, measure, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tree = xr.open_datatree(path, engine="zarr")
    llc = tree[measure].to_dataset().sel(step=step)
    number = tree[measure]["details"]["number"].sel(step=step)
    if llc["loss_change"].dims != ("chain", "draw", "example") or llc["loss_change"].dtype != np.float32:
        sys.exit(f"loss_change: {llc['loss_change']}")
    # Means of f32 numbers, times n_beta.
    mean = llc["loss_change"].astype("float64").mean("example") * number.sel(detail="n_beta").item()
    check_close("mean loss of the examples", mean.values, llc["trace"].values, 1e-4)
    check_close("start", llc["start_loss"].mean().item(), number.sel(detail="baseline_loss").item(), 1e-5)
    if llc["tokens"].dims != ("example", "position") or llc["tokens"].dtype != np.int32:
        sys.exit(f"tokens: {llc['tokens']}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import arviz as az
    except ImportError:
        print("xarray agrees; no arviz")
        return
    draws = llc[["trace"]]
    log_likelihood = -(llc["start_loss"] + llc["loss_change"]).to_dataset(name="loss")
    idata = az.InferenceData(posterior=draws, log_likelihood=log_likelihood)
    for name, value in (("r_hat", az.rhat(idata)), ("ess_bulk", az.ess(idata)), ("ess_tail", az.ess(idata, method="tail"))):
        check_close(name, value["trace"].item(), number.sel(detail=name).item(), 1e-3)
    print("xarray and arviz agree")


main()
