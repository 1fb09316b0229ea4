#!/usr/bin/env bash
# Prints the links of a Markdown file that do not answer. Exits 1 when there is one, 2 on wrong use.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: check_links.sh FILE.md" >&2; exit 2; }

dead=0
while read -r link; do
  status=$(curl --silent --location --max-time 10 --output /dev/null --write-out '%{http_code}' "$link" || true)
  case "$status" in
    2??) ;;
    *) printf '%s %s\n' "${status:-000}" "$link"; dead=1 ;;
  esac
done < <(grep -oE 'https?://[^][()<> "]+' "$1" | sort -u)
exit "$dead"
