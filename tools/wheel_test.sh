#!/usr/bin/env bash
# Build the wheel, install it alone in a fresh environment, and flatten a bundle with it.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$PWD/.uv/bin/uv
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$uv" build --quiet --wheel --build-constraints requirements/build.txt --out-dir "$scratch"
"$uv" venv --quiet --python .venv/bin/python "$scratch/venv"
"$uv" pip install --quiet --python "$scratch/venv" --require-hashes -r requirements/run.txt
"$uv" pip install --quiet --python "$scratch/venv" --no-deps "$scratch"/lmdp-*.whl

tree=$PWD
bundle=$PWD/tests/fixtures/otlp/otlp_bundle_ok.json
cd "$scratch"
venv/bin/lmdp flatten --org-id acme --strict "$bundle" | venv/bin/lmdp validate -
venv/bin/lmdp run --home home --broker memory --simulate 5 --interval 1 --duration 2 --json >report.json
venv/bin/python -c 'import json; r = json.load(open("report.json")); assert r["published"] == r["messages"] > 0, r'
venv/bin/lmdp cost --devices 10 >/dev/null
venv/bin/python -c 'from importlib.resources import files; p = files("lmdp") / "page"; assert all((p / n).is_file() for n in ("page.css", "icon.svg"))'
for how in direct import; do
  options=(powerbi --server xy12345.snowflakecomputing.com)
  [ "$how" = direct ] || options+=(--import)
  venv/bin/lmdp "${options[@]}" --output "wheel-$how" >/dev/null
  "$tree/.venv/bin/lmdp" "${options[@]}" --output "tree-$how" >/dev/null
  diff -r "tree-$how" "wheel-$how"
done
echo "the wheel works: $(ls lmdp-*.whl), $(wc -c <"$(ls lmdp-*.whl)") bytes"
