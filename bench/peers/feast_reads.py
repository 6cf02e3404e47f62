"""Feast: online reads from sqlite, and a historical read of files. Arguments: folder with events.parquet and entities.parquet.

events.parquet: one row per departure with the values of ten features of its carrier, as three views have them.
"""

import json
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float32, String
from feast.value_type import ValueType

folder = Path(sys.argv[1])
repo = folder / "repo"
repo.mkdir(exist_ok=True)
(repo / "feature_store.yaml").write_text(
    "project: bench\nprovider: local\nregistry: registry.db\n"
    "online_store: {type: sqlite, path: online.db}\noffline_store: {type: file}\nentity_key_serialization_version: 3\n"
)
store = FeatureStore(repo_path=str(repo))
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
views = []
for n in range(3):
    source = FileSource(name=f"s{n}", path=str(folder / f"events{n}.parquet"), timestamp_field="at")
    schema = [Field(name="carrier", dtype=String)] + [Field(name=f"v{n}_{k}", dtype=Float32) for k in range(10)]
    views.append(
        FeatureView(name=f"view{n}", entities=[carrier], ttl=timedelta(days=400), schema=schema, source=source)
    )
store.apply([carrier, *views])
names = [f"view{n}:v{n}_{k}" for n in range(3) for k in range(10)]

entities = pd.read_parquet(folder / "entities.parquet")
began = time.perf_counter()
rows = store.get_historical_features(entity_df=entities, features=names).to_df()
historical_s = time.perf_counter() - began
assert len(rows) >= 0.9 * len(entities)  # it drops rows of the same entity and instant

for n, view in enumerate(views):
    newest = pd.read_parquet(folder / f"events{n}.parquet").groupby("carrier").tail(1)
    store.write_to_online_store(view.name, newest)
carriers = sorted(entities["carrier"].unique())


def read(count: int, times: int) -> float:
    took = []
    for run in range(times):
        asked = [{"carrier": carriers[(run + n) % len(carriers)]} for n in range(count)]
        began = time.perf_counter()
        store.get_online_features(features=names, entity_rows=asked).to_dict()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


read(1, 20)
print(json.dumps({"historical_s": historical_s, "one_ms": read(1, 300), "hundred_ms": read(100, 60)}))
