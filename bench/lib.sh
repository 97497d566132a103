# Shared by the scripts of this folder: what they need, how servers are started and ended, what is checked first.
# Everything runs on 127.0.0.1, on high ports, in a scratch folder that is removed; processes are ended by their id.
#
#   BENCH_ORDINAL=PATH    measure this binary instead of building one
#   BENCH_PROFILE=dist    what to build: dist is what is shipped, release builds much faster
#   BENCH_MAX_LOAD=1.0    highest 1-minute load average to measure at
#   BENCH_FORCE=1         measure in any case (the numbers mean little)
#   BENCH_MIN_UTIL=0.97   saturated runs with a less busy server do not count
#   BENCH_MAX_FOREIGN=0.05  runs below saturation in which others used more of the two CPUs do not count
#   BENCH_OUT=DIR         keep the raw lines of every run there
#   KUBEBUILDER_ASSETS=DIR  where etcd, kube-apiserver and coredns are, for the scripts that use them
set -euo pipefail

bench="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$bench")"
work="$(mktemp -d "${TMPDIR:-/tmp}/ordinal-bench.XXXXXX")"
pids=()
# The server has one CPU of its own, the generator the other; what else takes part shares the generator's.
server_cpu="${BENCH_SERVER_CPU:-1}"
client_cpu="${BENCH_CLIENT_CPU:-0}"
profile="${BENCH_PROFILE:-dist}"

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ -n "${BENCH_OUT:-}" ]; then mkdir -p "$BENCH_OUT" && cp "$work"/*.lines "$BENCH_OUT"/ 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# need COMMAND DEBIAN-PACKAGE …: everything that is missing in one message.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} = 0 ] || die "missing; install with: apt-get install ${missing[*]}"
}

# Numbers of a busy machine mislead: refuse. A compiler somewhere is enough.
preflight() {
    local load busy limit="${BENCH_MAX_LOAD:-1.0}"
    [ "$(nproc)" -ge 2 ] || die "two CPUs are needed, one for the server and one for the generator"
    load="$(cut -d' ' -f1 /proc/loadavg)"
    # A look of one second as well: the load average lags behind.
    busy="$(busy_share)"
    say "machine: $(uname -sr), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), load $load, busy $busy %"
    if awk -v l="$load" -v m="$limit" -v b="$busy" 'BEGIN { exit !(l > m || b > 20) }'; then
        [ "${BENCH_FORCE:-}" = 1 ] || die "the machine is busy (load $load, limit $limit; $busy % of the CPUs); wait, or set BENCH_FORCE=1"
        say "WARNING: measuring on a busy machine"
    fi
}

busy_share() {
    { head -n 1 /proc/stat; sleep 1; head -n 1 /proc/stat; } |
        awk '{ all = 0; for (i = 2; i <= 9; i++) all += $i; idle = $5 + $6 }
             NR == 1 { a = all; b = idle } NR == 2 { printf "%.0f", 100 * (1 - (idle - b) / (all - a)) }'
}

# Builds what is measured and what measures; sets $ordinal and $tool.
build() {
    tool="$root/target/bench/release/ordinal-bench"
    cargo build --quiet --release --locked --manifest-path "$bench/tool/Cargo.toml" --target-dir "$root/target/bench"
    ordinal="${BENCH_ORDINAL:-}"
    if [ -z "$ordinal" ]; then
        [ "$profile" = release ] || [ -x "$root/target/$profile/ordinal" ] || say "building with --profile $profile: 10 minutes or more"
        cargo build --quiet --profile "$profile" --locked --manifest-path "$root/Cargo.toml" --target-dir "$root/target" --bin ordinal
        ordinal="$root/target/$profile/ordinal"
    fi
    [ -x "$ordinal" ] || die "$ordinal is not executable"
    say "ordinal: $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown), $("$ordinal" --version)"
}

# Prefixes rather than functions: a function in the background is a shell of its own, whose id is not the server's.
on_server_cpu=(taskset -c "$server_cpu")
on_client_cpu=(taskset -c "$client_cpu")

# wait_for SECONDS SERVER COMMAND…: until the command succeeds; gives up when the server has ended.
wait_for() {
    local until=$((SECONDS + $1)) server="$2"
    shift 2
    while [ "$SECONDS" -lt "$until" ] && kill -0 "${pid_of[$server]}" 2>/dev/null; do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    tail -n 20 "$work/$server.log" >&2
    die "$server does not come up"
}

# answers PORT NAME: whether NAME has an address there.
answers() { dig +short +tries=1 +time=2 @127.0.0.1 -p "$1" "$2" A | grep -q '^[0-9.]*$'; }

port_of() {
    case "$1" in
        echo) echo 15300 ;;
        ordinal) echo 15301 ;;
        nsd) echo 15302 ;;
        knot) echo 15303 ;;
        named) echo 15304 ;;
        coredns) echo 15305 ;;
    esac
}
http=127.0.0.1:15380
api=127.0.0.1:15343
kubeconfig="$work/kubeconfig"
# The same for the tools here, which speak plain HTTP only.
plain_kubeconfig="$kubeconfig"
# The name that tells that the data has arrived.
last_name=""
declare -A pid_of=()

# start NAME COMMAND…: in the background, its output in a log.
start() {
    local name="$1"
    shift
    # At once: the line `ready` of an earlier process must not be taken for this one's.
    : >"$work/$name.log"
    "$@" >>"$work/$name.log" 2>&1 </dev/null &
    pid_of[$name]=$!
    pids+=($!)
}

stop() {
    kill "${pid_of[$1]}" 2>/dev/null || true
    wait "${pid_of[$1]}" 2>/dev/null || true
}

# start_api [SHAPE…]: the embedded API server alone, in a process of its own, holding the data set.
start_api() {
    local made
    start api "${on_client_cpu[@]}" env -u KUBECONFIG "$ordinal" up --components= --simulate-node=false --log-level=warn \
        --api-listen="$api" --http-listen=127.0.0.1:0 --kubeconfig-out="$kubeconfig"
    wait_for 20 api grep -q ^ready "$work/api.log"
    made="$("$tool" apply --kubeconfig "$kubeconfig" "$@")"
    say "data: $made"
}

# start_real_api [SHAPE…]: the same with etcd and kube-apiserver of KUBEBUILDER_ASSETS; the tools reach it through `kubectl proxy`.
start_real_api() {
    local etcd=15345 secure=15346 made
    mkdir -p "$work/api"
    openssl genrsa -out "$work/api/accounts.key" 2048 2>/dev/null
    echo "test,test,test,system:masters" >"$work/api/tokens.csv"
    start etcd "${on_client_cpu[@]}" "$KUBEBUILDER_ASSETS/etcd" --data-dir="$work/api/etcd" --unsafe-no-fsync --log-level=error \
        --listen-client-urls="http://127.0.0.1:$etcd" --advertise-client-urls="http://127.0.0.1:$etcd" --listen-peer-urls=http://127.0.0.1:15347
    start api "${on_client_cpu[@]}" "$KUBEBUILDER_ASSETS/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd" --bind-address=127.0.0.1 \
        --secure-port="$secure" --cert-dir="$work/api/certificates" --token-auth-file="$work/api/tokens.csv" --authorization-mode=RBAC \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$work/api/accounts.key" \
        --service-account-signing-key-file="$work/api/accounts.key" --service-cluster-ip-range=10.96.0.0/16 \
        --disable-admission-plugins=ServiceAccount --endpoint-reconciler-type=none
    kubeconfig_of "https://127.0.0.1:$secure" "$work/api/certificates/apiserver.crt" >"$kubeconfig"
    wait_for 120 api kubectl --kubeconfig="$kubeconfig" get --raw /readyz
    start proxy "${on_client_cpu[@]}" kubectl --kubeconfig="$kubeconfig" proxy --port="${api##*:}" --disable-filter=true
    plain_kubeconfig="$work/kubeconfig-plain"
    kubeconfig_of "http://$api" >"$plain_kubeconfig"
    wait_for 20 proxy kubectl --kubeconfig="$plain_kubeconfig" get --raw /readyz
    made="$("$tool" apply --kubeconfig "$plain_kubeconfig" "$@")"
    say "data, in $("$KUBEBUILDER_ASSETS/kube-apiserver" --version): $made"
}

# kubeconfig_of SERVER [AUTHORITY]: one whose user may do everything.
kubeconfig_of() {
    cat <<YAML
apiVersion: v1
kind: Config
clusters:
- name: bench
  cluster:
    server: $1
${2:+    certificate-authority: $2}
users:
- name: bench
  user: {token: test}
contexts:
- name: bench
  context: {cluster: bench, user: bench}
current-context: bench
YAML
}

# ordinal_command [DNS-PORT]: words.
ordinal_command() {
    echo "$ordinal run --kubeconfig=$kubeconfig --components=dns --udp-threads=1 --log-level=warn \
        --dns-listen=127.0.0.1:${1:-$(port_of ordinal)} --http-listen=$http"
}

start_ordinal() {
    # shellcheck disable=SC2046 # Words on purpose.
    start ordinal "${on_server_cpu[@]}" $(ordinal_command) "$@"
}

# The kubernetes plugin on the same API server, with one CPU as the others; its own cache would hide what is measured.
coredns_command() {
    cat >"$work/Corefile" <<CONF
.:$(port_of coredns) {
    bind 127.0.0.1
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig $kubeconfig
        ttl 5
    }
}
CONF
    echo "env GOMAXPROCS=1 $KUBEBUILDER_ASSETS/coredns -quiet -conf $work/Corefile"
}

start_coredns() {
    # shellcheck disable=SC2046 # Words on purpose.
    start coredns "${on_server_cpu[@]}" $(coredns_command)
}

start_echo() { start echo "${on_server_cpu[@]}" "$tool" echo --listen "127.0.0.1:$(port_of echo)"; }

start_nsd() {
    mkdir -p "$work/nsd"
    cat >"$work/nsd.conf" <<CONF
server:
    ip-address: 127.0.0.1@$(port_of nsd)
    server-count: 1
    minimal-responses: yes
    receive-buffer-size: 4194304
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    username: ""
    chroot: ""
    zonesdir: "$work"
    database: ""
    zonelistfile: "$work/nsd/zone.list"
    xfrdfile: "$work/nsd/xfrd.state"
    xfrdir: "$work/nsd"
    pidfile: "$work/nsd/nsd.pid"
remote-control:
    control-enable: no
zone:
    name: cluster.local
    zonefile: "$work/zone.txt"
CONF
    start nsd "${on_server_cpu[@]}" nsd -d -c "$work/nsd.conf"
}

start_knot() {
    mkdir -p "$work/knot"
    cat >"$work/knot.conf" <<CONF
server:
    listen: 127.0.0.1@$(port_of knot)
    rundir: "$work/knot"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "$work/knot"
zone:
  - domain: cluster.local
    file: "$work/zone.txt"
    zonefile-sync: -1
    journal-content: none
CONF
    start knot "${on_server_cpu[@]}" knotd -c "$work/knot.conf"
}

start_named() {
    mkdir -p "$work/named"
    cat >"$work/named.conf" <<CONF
options {
    directory "$work/named";
    pid-file "$work/named/named.pid";
    session-keyfile "$work/named/session.key";
    listen-on port $(port_of named) { 127.0.0.1; };
    listen-on-v6 { none; };
    recursion no;
    minimal-responses no-auth;
    dnssec-validation no;
    notify no;
};
controls { };
zone "cluster.local" { type primary; file "$work/zone.txt"; };
CONF
    start named "${on_server_cpu[@]}" named -f -n 1 -c "$work/named.conf"
}

# Starts the given servers on the data set of $shape and checks that they agree.
start_servers() {
    local server
    "$tool" zone "${shape[@]}" --out "$work/zone.txt"
    for server in "$@"; do
        [ "$server" = ordinal ] && "${api_command:-start_api}" "${shape[@]}"
        "start_$server"
    done
    for server in "$@"; do
        [ "$server" = echo ] || wait_for 60 "$server" answers "$(port_of "$server")" "$last_name"
    done
    # Knot gives its threads an affinity of their own.
    [ -z "${pid_of[knot]:-}" ] || taskset -acp "$server_cpu" "${pid_of[knot]}" >/dev/null
    check "$@"
}

# The four kinds of questions: equal rcode and number of answers everywhere, or no measurement.
check() {
    local server question first facts status=0
    for question in "web-3-1.web-3.team-3.svc.cluster.local A" "web-3.team-3.svc.cluster.local A" \
        "_http._tcp.web-3.team-3.svc.cluster.local SRV" "web-3-77.web-3.team-3.svc.cluster.local A"; do
        first=""
        for server in "$@"; do
            [ "$server" != echo ] || continue
            # shellcheck disable=SC2086 # Name and type.
            facts="$(dig +norecurse +bufsize=1232 +nocookie +tries=1 +time=3 @127.0.0.1 -p "$(port_of "$server")" $question |
                sed -n 's/.*status: \([A-Z]*\),.*/\1/p; s/.*ANSWER: \([0-9]*\), AUTHORITY: \([0-9]*\), ADDITIONAL: \([0-9]*\).*/answers \1 authority \2 additional \3/p; s/.*MSG SIZE *rcvd: /octets /p' | paste -sd' ')"
            say "check: $question: $server: $facts"
            facts="${facts%% authority*}"
            [ -n "$facts" ] || status=1
            [ -z "$first" ] || [ "$facts" = "$first" ] || status=1
            first="${first:-$facts}"
        done
    done
    [ "$status" = 0 ] || die "the servers do not agree"
}

# rounds FILE WANTED COMPARE-OPTIONS… -- LOAD-OPTIONS… : interleaved rounds over $servers until WANTED are usable.
rounds() {
    local file="$work/$1" wanted="$2" filter=() server line round
    shift 2
    while [ "$1" != -- ]; do filter+=("$1"); shift; done
    shift
    for round in $(seq $((wanted * 3))); do
        for server in "${servers[@]}"; do
            line="$("${on_client_cpu[@]}" "$tool" load --server "127.0.0.1:$(port_of "$server")" --server-cpu "$server_cpu" \
                --own-cpu "$client_cpu" --pid "${pid_of[$server]}" --queries "$work/queries.txt" "$@")"
            echo "round=$round server=$server $line" | tee -a "$file" >&2
        done
        [ "$("$tool" compare --count "${filter[@]}" "$file")" -lt "$wanted" ] || return 0
    done
    say "WARNING: fewer than $wanted usable rounds"
}
