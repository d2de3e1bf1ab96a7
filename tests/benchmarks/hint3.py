"""Labels of a shop of its own, judged as the HINT3 paper does: in scope, and Matthews correlation over thresholds.

python tests/benchmarks/hint3.py ../shared/data/real/hint3/curekart_train.csv ../shared/data/real/hint3/curekart_test.csv

The model is made and used as `run --labels` does, int8 on a CPU. Messages of no label are one more class, and the answer below
the threshold is that class.
"""

from __future__ import annotations

import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from sklearn.metrics import matthews_corrcoef

from ecomintent_batch.inference.engines import load_engine, open_model
from ecomintent_batch.training.evaluate import score_labelled
from ecomintent_batch.training.label_model import make_label_model
from ecomintent_batch.training.labelled_sources import read_file
from ecomintent_batch.training.labels_file import read_labels

OUTSIDE = "NO_NODES_DETECTED"


def main() -> None:
    """Make the model, and print the figures."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("test")
    arguments = parser.parse_args()
    rows = list(read_file(arguments.test).rows.select("text", "label").iter_rows())
    true = np.array([label for _, label in rows], dtype=object)
    with tempfile.TemporaryDirectory() as folder:
        started, cpu = time.perf_counter(), time.process_time()
        report = make_label_model(read_labels(arguments.train), Path(folder) / "model")
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        model = open_model(str(Path(folder) / "model"))
        scored = score_labelled(model, load_engine(model, engine="onnx"), rows)
        probabilities = model.to_probabilities(scored.logits)
    first = np.array(model.labels, dtype=object)[probabilities.argmax(axis=1)]
    in_scope = true != OUTSIDE

    def correlate(threshold: float) -> float:
        sure = (probabilities.max(axis=1) >= threshold) & (first != model.other)
        return float(matthews_corrcoef(list(true), list(np.where(sure, first, OUTSIDE))))

    best = max((correlate(threshold), threshold) for threshold in np.arange(0, 1, 0.01))
    print(
        f"{sum(report.examples.values())} examples, {len(report.examples)} labels: {seconds:.0f} s, {cpu:.0f} s of processor"
    )
    print(f"cross-validated {report.weak_spots.score if report.weak_spots else '–'}")
    print(f"in scope right   {(first == true)[in_scope].mean():.1%} of {in_scope.sum()}")
    print(f"best MCC         {best[0]:.3f} at {best[1]:.2f}, all {len(true)}")
    print(
        f"its own threshold {correlate(report.threshold):.3f} at {report.threshold:.2f}; int8 = fp32 {report.agreement:.1%}"
    )


if __name__ == "__main__":
    main()
