// Package archtest holds the rules about the shape of this repository as data, and tests that the code keeps them: who may import
// whom, who may use which third-party module, who may touch OS threads, how long files and functions may be. It is for tests only.
//
// Its one trap: the import table speaks of a package's own files. What _test.go files import is free.
package archtest

// imports says for each package which packages of this module it may import. A row whose package does not exist yet is fine; a
// package without a row is not. The arrows point at what is imported, and nothing goes up. docs/architecture.md draws the picture.
var imports = map[string][]string{
	"cmd/tcplab": {"internal/cli", "internal/netns"}, // netns: to pin the main thread before anything else runs
	"internal/cli": {
		"internal/web", // tcplab serve
		"internal/runner", "internal/report", "internal/report/page", "internal/result", "experiments", "internal/judge", "internal/live", "internal/explain",
		"internal/kernel", "internal/setting", "internal/timeline", "sysctl", "lab", "internal/vm", "internal/userns", "internal/guard", "internal/whole",
		"internal/analyse", "pcapout", // tcplab analyse: captures from anywhere, which no run has
		"internal/spec", "experiments/files",
	},
	"internal/runner": {
		"experiments", "lab", "internal/oracle", "internal/analyse", "internal/evidence", "internal/judge", "internal/stall", "pcapout",
		"internal/result", "internal/report", "internal/explain", "internal/timeline", "sysctl", "internal/kernel",
	},
	"experiments":          {"lab", "sysctl", "internal/link", "internal/oracle", "internal/timeline", "internal/kernel", "internal/result", "internal/explain"},
	"predict":              {"internal/judge", "internal/kernel", "internal/oracle", "internal/timeline"},                                                                                                                                 // public: windows, for anyone's test
	"lab/labtest":          {"internal/analyse", "internal/judge", "internal/kernel", "internal/netns", "internal/result", "internal/stall", "internal/timeline", "internal/vm", "lab", "pcapout", "predict", "sysctl", "internal/guard"}, // public: a lab in anyone's test
	"internal/spec":        {"experiments", "lab", "sysctl", "pcapout", "internal/oracle", "internal/timeline", "internal/kernel", "internal/result"},
	"lab":                  {"internal/netns", "sysctl", "pcapout", "internal/kernel", "internal/agent", "internal/wire", "internal/link"},
	"internal/agent":       {"internal/stall"}, // how often to look for a stop
	"internal/evidence":    {"internal/netns", "internal/kernel", "internal/timeline"},
	"internal/analyse":     {"pcapout", "internal/timeline"},                          // never oracle: the witness must not know the answer
	"internal/oracle":      {"internal/kernel", "internal/timeline", "internal/link"}, // never lab or pcapout: same input, same output
	"internal/setting":     {"internal/kernel", "internal/oracle", "internal/timeline", "sysctl"},
	"internal/judge":       {"internal/result", "internal/timeline", "internal/explain", "internal/link"},
	"internal/report":      {"internal/result", "internal/timeline"},
	"internal/report/page": {"internal/report", "internal/result", "internal/timeline"},
	"internal/live":        {"internal/result", "internal/timeline"},
	"internal/web":         {"internal/report", "internal/report/page", "internal/result"}, // a Lab that cli brings runs and predicts
	"internal/vm":          {"internal/guard"},                                             // a transport: it knows no experiment, no lab

	// Leaves.
	"experiments/files": {}, // text alone
	"internal/explain":  {},
	"internal/guard":    {}, // it must not depend on what it cleans up after
	"internal/kernel":   {},
	"internal/link":     {}, // what a link does, for the one that carries and the one that predicts
	"internal/netns":    {},
	"internal/result":   {},
	"internal/stall":    {},
	"internal/timeline": {},
	"internal/userns":   {},
	"internal/whole":    {},
	"internal/wire":     {"internal/link"},
	"pcapout":           {},
	"sysctl":            {},

	// Programs of the project's own: they write the reference pages and measure. Nobody imports them.
	"internal/peer":          {"internal/timeline"}, // tcplab's names against tshark's, for a page
	"internal/docgen":        {"experiments", "internal/peer", "internal/cli", "internal/explain", "internal/kernel", "internal/report", "internal/runner", "internal/timeline", "lab", "sysctl"},
	"internal/bench/traffic": {},
	"internal/bench":         {"internal/kernel", "internal/netns", "internal/result", "lab", "sysctl"},

	// For tests only: no row lets anyone import them.
	"internal/archtest": {},
	"internal/doctest":  {},
	"internal/labtest":  {},
}

// modules lists every third-party module and who may import it, with the reason. One package imports each module; a second
// importer is an exception that its reason must carry.
var modules = map[string]map[string]string{
	"github.com/cavaliergopher/cpio": {"internal/vm": "the guest's file system"},
	"github.com/charmbracelet/x/ansi": {
		"internal/report": "cell widths of the ladder and the tables",
		"internal/live":   "cell widths of the live region; it may not import report",
	},
	"github.com/cilium/ebpf":                   {"internal/evidence": "loads the tracepoints' programs, relocates them by the kernel's BTF, reads their ring"},
	"github.com/coreos/go-iptables":            {"lab": "drop rules and their counters"},
	"github.com/goccy/go-yaml":                 {"internal/spec": "YAML with the place of each value"},
	"github.com/google/go-cmp":                 {"internal/labtest": "the diff of a golden file"},
	"github.com/gopacket/gopacket":             {"pcapout": "capture, pcapng and decoding"},
	"github.com/klauspost/compress":            {"internal/vm": "kernels and modules packed with zstd"},
	"github.com/pierrec/lz4/v4":                {"internal/vm": "kernels packed with lz4"},
	"github.com/safchain/ethtool":              {"lab": "segmentation offloads off where segments are counted"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"internal/spec": "judges a file by the schema that is printed, and says by which part of it"},
	"github.com/spf13/cobra":                   {"internal/cli": "commands and completion"},
	"github.com/spf13/pflag":                   {"internal/cli": "cobra's flags"},
	"github.com/ulikunitz/xz":                  {"internal/vm": "kernels and modules packed with xz"},
	"github.com/vishvananda/netlink": {
		"lab":               "links, addresses and neighbours",
		"internal/evidence": "inet_diag: the kernel's own view of a socket",
	},
	"github.com/vishvananda/netns": {"internal/netns": "namespace descriptors"},
	"golang.org/x/net":             {"pcapout": "BPF filters"},
	"golang.org/x/sys": {
		"internal/agent":    "TCP socket options and system calls of the lab's processes",
		"internal/evidence": "constants and layouts of inet_diag and tcp_info",
		"internal/kernel":   "uname, and clocks with their resolution",
		"internal/netns":    "setns and unshare",
		"internal/runner":   "errno and EtherType constants, and the timer that setting the clock cancels",
		"internal/stall":    "pins a watcher to each CPU",
		"internal/vm":       "mounts, modules and I/O ports of a guest",
		"internal/whole":    "a file without a name, and the link that gives it one",
		"internal/wire":     "poll(2) to the nanosecond, and the priority of its threads",
		"lab":               "netlink families",
		"pcapout":           "AF_PACKET sockets and their drop counters",
	},
	"golang.org/x/term": {
		"internal/live": "the size of the terminal",
		"internal/cli":  "whether there is a terminal",
	},
}

// A ban forbids a name of a package outside the listed places. A place is a folder or a file.
type ban struct {
	path, name string            // import path and identifier: golang.org/x/sys/unix, Setns
	why        string            // what goes wrong otherwise
	allowed    map[string]string // place → reason
}

var netnsOnly = map[string]string{"internal/netns": "the one package that moves threads between namespaces"}

var bans = []ban{
	{path: "runtime", name: "LockOSThread", why: "only internal/netns touches OS threads", allowed: map[string]string{
		"internal/netns":     "a thread in another namespace must not serve other goroutines",
		"internal/stall":     "pins one watcher to each CPU",
		"cmd/tcplab/main.go": "keeps the main thread in the host's namespace, because /proc/self names its namespace",
	}},
	{path: "golang.org/x/sys/unix", name: "Setns", why: "use netns.Do", allowed: netnsOnly},
	{path: "golang.org/x/sys/unix", name: "Unshare", why: "use netns.New", allowed: netnsOnly},
	{path: "golang.org/x/sys/unix", name: "SYS_SETNS", why: "use netns.Do", allowed: netnsOnly},
	{path: "golang.org/x/sys/unix", name: "SYS_UNSHARE", why: "use netns.New", allowed: netnsOnly},
	{path: "syscall", name: "Unshare", why: "use netns.New", allowed: netnsOnly},
	{path: "syscall", name: "SYS_UNSHARE", why: "use netns.New", allowed: netnsOnly},
	{path: "time", name: "Sleep", why: "wait for the packet, the step or the state", allowed: map[string]string{
		"internal/kernel/clock_linux.go": "the spacing of its readings is the measurement",
		"docs/examples/deadpeer":         "a stranger's test: its pauses are the experiment",
	}},
}

// skippers may call Skip, Skipf and SkipNow of a test. Everyone else calls labtest.Need.
var skippers = map[string]string{"internal/labtest": "Need is the checked skip", "lab/labtest": "a stranger's test skips where there is no lab, and fails with TCPLAB_REQUIRE"}

// shells may be started by these, besides tests.
var shells = map[string]string{"internal/bench": "measures what a script of its own costs", "internal/archtest/source.go": "looks for their names"}

// Limits of length, in lines. The function limit is for code, not for tests: a table test is as long as its table.
const (
	maxFileLines     = 500
	maxFunctionLines = 60
)

// long lists what may be longer, "file" or "file:function", with the reason.
var long = map[string]string{}
