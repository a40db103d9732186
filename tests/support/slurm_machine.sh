#!/usr/bin/env bash
# The first process of a machine of the test cluster: mounts what is its own, starts its daemons, and waits.
#   slurm_machine.sh NAME FOLDER "DAEMON..." [PATH...]
# A PATH is seen in it also where it is below /tmp, /run, /dev/shm or /root, which are its own.
# It says which process it is outside, and is told when its network is there. Its input ends with the tests, however
# they end; then it ends too, and with it every process, mount and network of the machine.
set -euo pipefail
name=$1 folder=$2 daemons=$3 seen=("${@:4}")
umask 022

read -r outside _ < /proc/self/stat
echo "$outside"
read -r _

mount -t proc proc /proc
echo "$name" > /proc/sys/kernel/hostname

stage=/mnt
mount -t tmpfs stage "$stage"
mkdir "$stage"/{tmp,run,shm,root}
mount --bind "$folder/machines/$name/tmp" "$stage/tmp"
mount -t tmpfs -o mode=755 run "$stage/run"
mount -t tmpfs -o mode=1777,size=2g shm "$stage/shm"
mount -t tmpfs -o mode=755 root "$stage/root"
for place in tmp:/tmp run:/run shm:/dev/shm root:/root; do
    own=$stage/${place%%:*} over=${place##*:}
    for path in "${seen[@]}"; do
        if [[ $path == "$over"/* ]]; then
            mkdir -p "$own${path#"$over"}"
            mount --bind "$path" "$own${path#"$over"}"
        fi
    done
done
mount --no-mtab --move "$stage/shm" /dev/shm
mount --no-mtab --move "$stage/root" /root
mount --no-mtab --move "$stage/run" /run
mount --no-mtab --move "$stage/tmp" /tmp
umount --no-mtab "$stage"
mount -t tmpfs -o size=4k,mode=755 others "$folder/machines"

for file in hosts resolv.conf passwd group; do
    mount --bind "$folder/etc/$file" "/etc/$file"
done
mount --bind "$folder/etc/slurm" /etc/slurm
mkdir -p /run/{lock,munge,mysqld}

start() {  # start COMMAND...
    {
        status=0
        "$@" < /dev/null &>> "$folder/log/$1-$name.log" || status=$?
        echo "$1 ended with $status" >&2
    } &
}
wait_for_socket() {
    for _ in {1..600}; do
        [ -S "$1" ] && return
        sleep 0.05
    done
    echo "no socket $1" >&2
    exit 1
}
start munged --foreground --key-file="$folder/etc/munge.key" --seed-file=/run/munge/seed --num-threads=2
wait_for_socket /run/munge/munge.socket.2
for daemon in $daemons; do
    case $daemon in
        mariadbd)  # as root of a private socket, so that it needs no tables of users
            start mariadbd --no-defaults --user=root --datadir="$folder/database" --skip-networking --skip-grant-tables \
                --socket=/run/mysqld/mysqld.sock --innodb-buffer-pool-size=32M --innodb-flush-log-at-trx-commit=0
            wait_for_socket /run/mysqld/mysqld.sock
            ;;
        slurmdbd)
            start slurmdbd -D
            for _ in {1..600}; do
                sacctmgr --immediate --quiet add cluster fishtank &> /dev/null && break
                sleep 0.05
            done
            ;;
        *) start "$daemon" -D ;;
    esac
done
while read -r _; do :; done
