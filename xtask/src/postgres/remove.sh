# Waits for a word on standard input, or for the end of whoever holds it; in the latter case removes what one start made.
# Arguments: "container" NAME DIRECTORY, or "cluster" PROGRAMS DIRECTORY; any part may be missing already.
set -eu

if read -r _; then
    exit 0
fi

directory=$3
case $1 in
container)
    if docker container inspect "$2" >/dev/null 2>&1; then
        docker rm --force --volumes "$2" >/dev/null
    fi
    if docker volume inspect "$2" >/dev/null 2>&1; then
        docker volume rm --force "$2" >/dev/null
    fi
    ;;
cluster)
    if [ -e "$directory/data/postmaster.pid" ]; then
        cd "$directory"
        stop="$2/pg_ctl stop --silent --wait --mode=immediate --pgdata=$directory/data"
        if [ "$(id -u)" = 0 ]; then
            # A stale file of a server that is gone is no failure.
            runuser --user=postgres -- $stop >/dev/null 2>&1 || true
        else
            $stop >/dev/null 2>&1 || true
        fi
        cd /
    fi
    ;;
esac
rm -rf -- "$directory"
