//go:build lab

package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// attempts is how often a run is made that the machine disturbed. Each one is logged; a verdict is never made again.
const attempts = 8

// runAlone is runCommand while no other command runs.
func runAlone(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	floor.Lock()
	defer floor.Unlock()
	return runHere(t, cmd)
}

// aloneFrom is the attempt from which on nothing else of these tests runs beside.
const aloneFrom = 4

// settled starts the command that make makes, in a folder of its own, until its run was not disturbed by the machine (exit code 5).
func settled(t *testing.T, make func(dir string) *exec.Cmd) (dir, stdout, stderr string, code int) {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	for i := range attempts {
		dir = openFolder(t)
		if i < aloneFrom {
			stdout, stderr, code = runCommand(t, make(dir))
		} else {
			stdout, stderr, code = runAlone(t, make(dir))
		}
		if code != explain.ExitInconclusive {
			return dir, stdout, stderr, code
		}
		t.Logf("the machine disturbed the run:\n%s%s", stdout, stderr)
	}
	t.Fatalf("the machine disturbed %d runs one after the other; run this on a quieter one", attempts)
	return
}

// in is the program, to be started in dir.
func in(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("tcplab", args...)
	cmd.Dir = dir
	return cmd
}

func readResult(t *testing.T, text []byte) *result.Result {
	t.Helper()
	r, err := result.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("result: %v", err)
	}
	return r
}

func readFile(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRun runs the fast profile once and looks at everything that it leaves: each part catches a file that is missing, broken, or
// tells another story than the others.
func TestRun(t *testing.T) {
	labtest.Need(t, labtest.Command("tshark"), labtest.Command("tcpdump"))
	t.Parallel()
	dir, stdout, stderr, code := settled(t, func(dir string) *exec.Cmd {
		return in(dir, "run", "exp1", "--profile=fast", "--json", "--events=events")
	})
	if code != 0 {
		t.Fatalf("exit code: got %d, want 0\n%s", code, stderr)
	}
	runs := filepath.Join(dir, "tcplab-runs")
	latest, err := os.Readlink(filepath.Join(runs, "latest"))
	if err != nil {
		t.Fatalf("latest: %v", err)
	}
	run := filepath.Join(runs, latest)
	wantFiles(t, runs, latest, "latest")
	wantFiles(t, run, "client.pcapng", "events.ndjson", "junit.xml", "ladder.svg", "ladder.txt", "report.html", "result.json", "server.pcapng")
	res := readResult(t, []byte(stdout))

	t.Run("json", func(t *testing.T) {
		if diff := cmp.Diff(string(readFile(t, run, "result.json")), stdout); diff != "" {
			t.Errorf("--json against result.json (-file +stdout):\n%s", diff)
		}
		if res.Verdict != result.Pass || res.Profile != "fast" || len(res.Packets) != 2 {
			t.Errorf("result: got %s, profile %s, %d packets, want pass, fast, 2", res.Verdict, res.Profile, len(res.Packets))
		}
		if _, err := oneJSON([]byte(stdout)); err != nil {
			t.Error(err)
		}
	})
	t.Run("stderr", func(t *testing.T) {
		wantParts(t, "progress", stderr, "exp1-syn-loss", "SYN again", "ETIMEDOUT")
		if strings.Contains(stderr, "\x1b") {
			t.Errorf("progress off a terminal: got escape codes in %q, want none", stderr)
		}
	})
	t.Run("events", func(t *testing.T) { checkEvents(t, dir, run, res) })
	t.Run("junit", func(t *testing.T) { checkJUnit(t, readFile(t, run, "junit.xml"), res) })
	t.Run("captures", func(t *testing.T) { checkCaptures(t, run, res) })
	t.Run("ladder", func(t *testing.T) {
		wantParts(t, "ladder.txt", string(readFile(t, run, "ladder.txt")), "SYN seq=0", "SYN again", "ETIMEDOUT")
	})
	t.Run("report", func(t *testing.T) {
		text, stderr, code := runCommand(t, in(dir, "report", "tcplab-runs/latest"))
		if code != 0 || stderr != "" {
			t.Errorf("report: got exit code %d and %q on stderr, want 0 and nothing", code, stderr)
		}
		wantParts(t, "report", text, "PASS exp1-syn-loss", "What happened")
		again, _, _ := runCommand(t, in(dir, "report", "--format=json", "tcplab-runs/latest"))
		if diff := cmp.Diff(stdout, again); diff != "" {
			t.Errorf("report --format=json (-run +report):\n%s", diff)
		}
	})
}

// checkEvents wants one JSON object a line, and the same lines in both files. What the client tells and what the capture shows come by two
// ways, so each is in the order in which things happened, and the two together are only as a busy machine reads them.
func checkEvents(t *testing.T, dir, run string, res *result.Result) {
	stored := readFile(t, run, "events.ndjson")
	if diff := cmp.Diff(string(stored), string(readFile(t, dir, "events"))); diff != "" {
		t.Errorf("--events against events.ndjson (-stored +flag):\n%s", diff)
	}
	var kinds, told []string
	events := 0
	for line := range bytes.Lines(stored) {
		doc, err := oneJSON(line)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		kind, _ := doc["type"].(string)
		if doc["schema"] != "tcplab.event/v1" || doc[kind] == nil {
			t.Errorf("line %q: want the schema tcplab.event/v1 and a field %q", line, kind)
		}
		switch kind {
		case "event":
			events++
			kinds = append(kinds, kind)
		case "client":
			client, _ := doc["client"].(map[string]any)
			event, _ := client["event"].(string)
			told = append(told, event)
		case "status":
		default:
			kinds = append(kinds, kind)
		}
	}
	if want := len(res.Events) + 1; events != want {
		t.Errorf("events: got %d, want %d: every packet and the end of connect()", events, want)
	}
	if diff := cmp.Diff([]string{"start", "event", "event", "event", "end"}, kinds); diff != "" {
		t.Errorf("order of lines, without status and the client's (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ready", "connecting", "failed"}, told); diff != "" {
		t.Errorf("order of the client's lines (-want +got):\n%s", diff)
	}
	if !bytes.Contains(stored, []byte(`"type":"status"`)) {
		t.Error("status lines: got none, want some in 3 s")
	}
}

// checkJUnit wants well-formed XML with one test case per check and the same verdicts.
func checkJUnit(t *testing.T, text []byte, res *result.Result) {
	var doc struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Name       string `xml:"name,attr"`
			Properties []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"properties>property"`
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Suites) != 1 || doc.Suites[0].Name != "exp1-syn-loss" {
		t.Fatalf("suites: got %+v, want one: exp1-syn-loss", doc.Suites)
	}
	suite := doc.Suites[0]
	if doc.Tests != len(res.Checks) || len(suite.Cases) != len(res.Checks) || doc.Failures != 0 {
		t.Errorf("got %d tests, %d cases, %d failures, want %d, %d, 0", doc.Tests, len(suite.Cases), doc.Failures, len(res.Checks), len(res.Checks))
	}
	for _, c := range suite.Cases {
		if c.Failure != nil || c.Error != nil || c.Skipped != nil {
			t.Errorf("case %s: got failed, broken or skipped, want passed", c.Name)
		}
	}
	found := false
	for _, p := range suite.Properties {
		found = found || p.Name == "verdict" && p.Value == string(res.Verdict)
	}
	if !found {
		t.Errorf("properties: got %v, want verdict=%s", suite.Properties, res.Verdict)
	}
}

// checkCaptures reads both captures with Wireshark's and tcpdump's own readers: not a word of complaint, names, comments, and the same
// packet under the same number in both.
func checkCaptures(t *testing.T, run string, res *result.Result) {
	ids := map[string]string{}
	for _, host := range []string{"client", "server"} {
		file := filepath.Join(run, host+".pcapng")
		out := quiet(t, "tshark", "-N", "n", "-r", file, "-T", "fields", "-e", "frame.packet_id", "-e", "tcp.seq_raw", "-e", "frame.interface_name",
			"-e", "ip.src_host", "-e", "ip.dst_host", "-e", "frame.packet_flags_direction", "-e", "frame.comment", "-E", "aggregator=\x1f")
		var seen []string
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			f := strings.Split(line, "\t")
			if len(f) != 7 {
				t.Fatalf("%s: tshark printed %q, want 7 fields", host, line)
			}
			seen = append(seen, f[0])
			p := res.Packets[i]
			direction := map[string]string{"client": "0x00000002", "server": "0x00000001"}[host] // out of the client, into the server
			zh := strings.TrimPrefix(f[6], p.Comment+"\x1f")                                     // two comments on one packet
			want := []string{strconv.Itoa(p.ID), strconv.FormatUint(uint64(p.Seq), 10), host + "/eth0", "client", "server", direction, p.Comment + "\x1f" + zh}
			if diff := cmp.Diff(want, f); diff != "" {
				t.Errorf("%s packet %d (-want +got):\n%s", host, i+1, diff)
			}
			wantParts(t, "comment", f[6], "Dropped by server iptables filter INPUT, after this capture point.")
			wantParts(t, "comment in Chinese", zh, "SYN", "在此抓包点之后被服务器 iptables filter INPUT 丢弃。")
		}
		// What `tcplab open --wireshark` hands over, read by tshark, which understands the same: both comments stand beside each packet.
		for i, line := range strings.Split(strings.TrimSpace(quiet(t, "tshark", viewer(true, file)[1:]...)), "\n") {
			wantParts(t, "columns", line, "client → server", res.Packets[i].Comment+" ", "在此抓包点之后被服务器 iptables filter INPUT 丢弃")
		}
		ids[host] = strings.Join(seen, " ")
		if out := quiet(t, "tcpdump", "-n", "-r", file); strings.Count(out, "10.99.0.2.8080: Flags [S]") != 2 {
			t.Errorf("tcpdump %s: got %q, want 2 SYNs", host, out)
		}
	}
	if ids["client"] != "1 2" || ids["server"] != ids["client"] {
		t.Errorf("packet numbers: got %v, want 1 2 in both", ids)
	}
}

// quiet runs a program that may print nothing to standard error but who runs it, and which file it reads.
func quiet(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8", "TZ=UTC")
	stdout, stderr, code := runCommand(t, cmd)
	if code != 0 {
		t.Errorf("%s: got exit code %d, want 0", name, code)
	}
	lines := bufio.NewScanner(strings.NewReader(stderr))
	for lines.Scan() {
		if s := lines.Text(); !strings.HasPrefix(s, `Running as user "root"`) && !strings.HasPrefix(s, "reading from file ") {
			t.Errorf("%s: got %q on stderr, want nothing", name, s)
		}
	}
	return stdout
}

// TestSchedules runs exp1 under its parameters. The nominal times are worked out by hand from the kernel's rules, not taken from
// tcplab; the real kernel must keep them, late by what a timer wheel may add and never early. Where a kernel lacks the knob, the run is
// refused with exit code 3.
func TestSchedules(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want []float64 // nominal seconds: each SYN, then the end of connect()
	}{
		{"textbook", []string{"--syn-retries=2"}, []float64{0, 1, 3, 7}},
		{"kernel profile, one retry", []string{"--profile=kernel", "--syn-retries=1", "--set=client.net.ipv4.tcp_syn_linear_timeouts=0"}, []float64{0, 1, 3}},
		// tcp_write_timeout: TCP_SYNCNT takes the place of tcp_syn_retries.
		{"TCP_SYNCNT over the sysctl", []string{"--profile=fast", "--syncnt=2"}, []float64{0, 1, 3, 7}},
		// tcp_clamp_rto_to_user_timeout (4.19): the second wait is cut to what is left of 2.5 s.
		{"user timeout", []string{"--user-timeout=2500", "--syncnt=2"}, []float64{0, 1, 2.5}},
		{"largest RTO", []string{"--rto-max-ms=1000", "--syn-retries=3"}, []float64{0, 1, 2, 3, 4}},
		// retransmits_timed_out: 3 s have passed, the time of one retry that doubles, before the count of 1+2 is reached.
		{"linear timeouts", []string{"--syn-linear-timeouts=2", "--syn-retries=1"}, []float64{0, 1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, stdout, stderr, code := settled(t, func(dir string) *exec.Cmd { return in(dir, append([]string{"run", "exp1", "--json"}, tt.args...)...) })
			if code == explain.ExitUnable && strings.Contains(stderr, explain.KnobMissing) {
				t.Logf("refused, as it has to be on this kernel: %s", stderr)
				return
			}
			if code != 0 {
				t.Fatalf("exit code: got %d, want 0\n%s", code, stderr)
			}
			checkTimes(t, readResult(t, []byte(stdout)), tt.want)
		})
	}
}

// checkTimes wants the observed times within the wheel's reach of the nominal ones.
func checkTimes(t *testing.T, r *result.Result, want []float64) {
	t.Helper()
	var got []float64
	for _, p := range r.Packets {
		got = append(got, p.At().Seconds())
	}
	end := *r.Outcome.Seen
	if kernel := r.Outcome.Ended; kernel != nil { // a busy machine tells the program late, and the verdict is by the kernel's record
		end = min(end, *kernel)
	}
	got = append(got, end.Duration().Seconds())
	if len(got) != len(want) {
		t.Fatalf("times: got %v, want about %v", got, want)
	}
	for i, at := range want {
		// Every wait is rounded up by an eighth at most (a seventh of the sum of shorter ones), and a jiffy.
		latest := at + at/7 + float64(i+3)/float64(r.Kernel.HZ) + 0.005
		if got[i] < at-1e-6 || got[i] > latest {
			t.Errorf("time %d: got %.6f s, want %.3f to %.3f s", i, got[i], at, latest)
		}
	}
	if r.Outcome.SeenErr != "ETIMEDOUT" {
		t.Errorf("end: got %q, want ETIMEDOUT", r.Outcome.SeenErr)
	}
}

// TestMany catches labs that disturb each other: 20 at once (4 under the race detector), all with the same addresses and ports, give
// as many equal verdicts in as many folders.
func TestMany(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	n := strconv.Itoa(manyLabs)
	var dir, stdout, stderr string
	code := explain.ExitInconclusive
	for i := 0; i < attempts && code == explain.ExitInconclusive; i++ {
		dir = openFolder(t)
		stdout, stderr, code = runCommand(t, in(dir, "run", "exp1", "--profile=fast", "--repeat="+n, "--parallel="+n, "--json"))
	}
	if code != 0 && code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, want 0\n%s", code, stderr)
	}
	var doc struct {
		Schema  string          `json:"schema"`
		Results []result.Result `json:"results"`
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "tcplab.results/v1" || len(doc.Results) != manyLabs {
		t.Fatalf("got %s with %d results, want tcplab.results/v1 with %d", doc.Schema, len(doc.Results), manyLabs)
	}
	open := 0
	for i, r := range doc.Results {
		switch r.Verdict {
		case result.Pass:
		case result.Inconclusive: // a weak machine leaves some of that many without a verdict each time
			t.Logf("run %d: %s", i+1, r.Reason)
			open++
		default:
			t.Errorf("run %d: got %s (%s), want pass", i+1, r.Verdict, r.Reason)
		}
	}
	if open > manyLabs/2 {
		t.Errorf("got no verdict in %d of %d runs, want one in half of them at least; run this on a quieter machine", open, manyLabs)
	}
	folders, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*"))
	if err != nil || len(folders) != manyLabs {
		t.Errorf("folders: got %d, %v, want %d", len(folders), err, manyLabs)
	}
}

// TestSameSecond catches two processes that choose the same folder: both pass, in two folders, and latest is one of them.
func TestSameSecond(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	dir := openFolder(t)
	codes := make(chan int)
	for range 2 {
		go func() {
			code, err := exitCode(in(dir, "run", "exp1", "--profile=fast").Run())
			if err != nil {
				code = -1
			}
			codes <- code
		}()
	}
	for range 2 {
		if code := <-codes; code != 0 && code != explain.ExitInconclusive {
			t.Errorf("exit code: got %d, want 0", code)
		}
	}
	folders, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*", "result.json"))
	if err != nil || len(folders) != 2 {
		t.Errorf("results: got %v, %v, want 2", folders, err)
	}
	latest, err := os.Readlink(filepath.Join(dir, "tcplab-runs", "latest"))
	if err != nil || !slices.ContainsFunc(folders, func(f string) bool { return filepath.Base(filepath.Dir(f)) == latest }) {
		t.Errorf("latest: got %q, %v, want one of %v", latest, err, folders)
	}
	wantFilesMatching(t, filepath.Join(dir, "tcplab-runs"), 3)
}

// wantFilesMatching wants n entries in dir, hidden ones included.
func wantFilesMatching(t *testing.T, dir string, n int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != n {
		t.Errorf("%s: got %d entries (%v), %v, want %d", dir, len(entries), entries, err, n)
	}
}
