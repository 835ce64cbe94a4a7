"""Compares a run's measurements.zarr, as xarray reads it, with what ontogeny says about the same run.

Usage: read_zarr.py RUN/measurements.zarr EXPECTED.json

EXPECTED.json holds `view` (the object of `ontogeny show RUN --json`) and `arrays` (further arrays: path, dims, shape,
units, type, and flat values with NaN and infinities as text). Exits with a message at the first difference.
"""

import json
import sys

import numpy as np
import xarray as xr

STATUS = {"missing": 0, "refused": 1, "done": 2}


def check_equal(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: found {found!r}, expected {expected!r}")


def to_floats(nested, shape):
    """Nested lists with null, or text for numbers JSON cannot hold, as an array of float64."""
    flat = [np.nan if x is None else float(x) for x in np.asarray(nested, dtype=object).ravel()]
    return np.array(flat, dtype=np.float64).reshape(shape)


def check_values(what, found, expected, type_name="float64"):
    check_equal(f"{what}: type", found.dtype, np.dtype(type_name))
    found = found.astype(np.float64)
    if not np.array_equal(found, expected, equal_nan=True):
        sys.exit(f"{what}: found\n{found}\nexpected\n{expected}")


def check_observable(tree, name, observable):
    group = tree[name]
    check_equal(f"{name}: unit", group.attrs["unit"], observable["unit"])
    check_equal(f"{name}: kind", group.attrs["kind"], observable["kind"])
    check_equal(f"{name}: description", group.attrs["description"], observable["description"])
    for dim, labels in observable["coordinates"].items():
        check_equal(f"{name}: labels of {dim}", group.coords[dim].values.tolist(), labels)
    shape = [len(observable["coordinates"][dim]) for dim in observable["dims"]]

    codes = [STATUS[status["state"]] for status in observable["status"]]
    check_equal(f"{name}: status", group["status"].values.tolist(), codes)
    check_equal(f"{name}: meanings", group["status"].attrs["flag_meanings"].split(), list(STATUS))
    for word in ("verdict", "reason"):
        expected = [status.get(word, "") for status in observable["status"]]
        check_equal(f"{name}: {word}", group[word].values.tolist(), expected)

    for array, key in (("value", "values"), ("standard_error", "standard_errors")):
        expected = to_floats(observable[key], shape)
        if array in group:
            check_equal(f"{name}: dims of {array}", list(group[array].dims), observable["dims"])
            check_values(f"{name}: {array}", group[array].values, expected)
            check_equal(f"{name}: units of {array}", group[array].attrs["units"], observable["unit"])
        elif not np.isnan(expected).all():
            sys.exit(f"{name}: no {array}")

    for step_idx, details in enumerate(observable["details"]):
        for key, expected in details.items():
            group_details = group["details"]
            if key in group_details["detail"].values:
                found = group_details["number"].sel(detail=key)
            else:
                found = group_details["text"].sel(word=key)
            check_equal(f"{name}: dims of detail {key}", list(found.dims), ["step"])
            check_equal(f"{name}: detail {key}", found.values[step_idx].item() if found.dtype.kind == "f" else found.values[step_idx], expected)

    # Labels select: by name along components, by number along steps.
    if 0 not in shape and "value" in group:
        first = {dim: observable["coordinates"][dim][0] for dim in observable["dims"]}
        check_values(f"{name}: selection", group["value"].sel(first).values, to_floats(observable["values"], shape).ravel()[0])


def main():
    path, expected_file = sys.argv[1:]
    with open(expected_file, encoding="utf-8") as file:
        expected = json.load(file)
    tree = xr.open_datatree(path, engine="zarr", consolidated=True)
    view = expected["view"]
    check_equal("title", tree.attrs["title"], view["run"]["title"])
    check_equal("seed", tree.attrs["seed"], view["run"]["seed"])
    check_equal("groups", sorted(tree.children), sorted(view["observables"]))
    for name, observable in view["observables"].items():
        check_observable(tree, name, observable)
    for array in expected["arrays"]:
        found = tree[array["path"]]
        check_equal(f"{array['path']}: dims", list(found.dims), array["dims"])
        check_equal(f"{array['path']}: units", found.attrs["units"], array["units"])
        check_values(array["path"], found.values, to_floats(array["values"], array["shape"]), array["type"])
    n, m = len(view["observables"]), len(expected["arrays"])
    print(f"{n} observables and {m} further array{'s' if m != 1 else ''} agree")


main()
