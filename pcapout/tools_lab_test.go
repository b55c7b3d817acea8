//go:build lab

package pcapout

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tool runs a program on a capture and returns its standard output. Anything on standard error fails the test: a user sees a warning
// there and trusts the file less.
func tool(t *testing.T, name string, arg ...string) string {
	t.Helper()
	cmd := exec.Command(name, arg...)
	var out, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warnings
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8", "TZ=UTC")
	err := cmd.Run()
	for line := range strings.Lines(warnings.String()) {
		// These two are about the caller and the file's name, not about its content.
		if strings.HasPrefix(line, `Running as user "root"`) || strings.HasPrefix(line, "reading from file ") {
			continue
		}
		t.Errorf("%s %s: got %q on stderr, want nothing", name, strings.Join(arg, " "), line)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(arg, " "), err)
	}
	return out.String()
}

func sampleFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "client.pcapng")
	if err := os.WriteFile(name, write(t, sample(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestToolsAgree catches a file that our own reader takes and Wireshark, tcpdump or capinfos read differently.
func TestToolsAgree(t *testing.T) {
	name := sampleFile(t)
	field := func(f string) []string {
		return []string{"tshark", "-r", name, "-T", "fields", "-E", "aggregator=|", "-e", f}
	}
	tests := []struct {
		name string
		cmd  []string
		want string
	}{
		{"packet comments", field("frame.comment"),
			"the first SYN\n\nSYN retransmission 1 of 2. Expected 1.000 s, seen 1.004 s.|第一次重传\n"},
		{"interface name", field("frame.interface_name"), strings.Repeat("client/eth0\n", 3)},
		{"interface description", field("frame.interface_description"), strings.Repeat("the client's end of the veth pair\n", 3)},
		{"direction: 1 in, 2 out", field("frame.packet_flags_direction"), "0x00000002\n0x00000001\n0x00000002\n"},
		{"packet ID", field("frame.packet_id"), "1234605616436508552\n7\n8\n"},
		{"time", field("frame.time_epoch"), "1700000000.123456789\n1700000000.123456790\n1700000001.127456789\n"},
		{"captured and original length", field("frame.len"), "74\n94\n74\n"},
		{"names", append([]string{"tshark", "-N", "n", "-r", name, "-Y", "ip", "-T", "fields"}, "-e", "ip.src_host", "-e", "ip.dst_host"),
			"client\tserver\nclient\tserver\n"},
		{"tcpdump", []string{"tcpdump", "-n", "-t", "-r", name, "ip and tcp[tcpflags] & tcp-syn != 0"},
			strings.Repeat("IP 10.99.0.1.40000 > 10.99.0.2.8080: Flags [S], seq 100, win 64240, options "+
				"[mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0\n", 2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tool(t, tt.cmd[0], tt.cmd[1:]...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// TestToolsSeeHeader catches a section or statistics block that other programs do not understand.
func TestToolsSeeHeader(t *testing.T) {
	name := sampleFile(t)
	info := tool(t, "capinfos", name)
	// Wireshark's own file dissector reads every block, so it also checks what its packet list leaves out.
	blocks := tool(t, "tshark", "-X", "read_format:MIME Files Format", "-r", name, "-V")
	tests := []struct {
		name, in, want string
	}{
		{"section comment", info, "exp1-syn-loss: every SYN is lost"},
		{"hardware", info, "x86_64"},
		{"operating system", info, "Linux 6.18.44"},
		{"application", info, "tcplab 0.1.0"},
		{"resolution", info, "Time precision = nanoseconds (9)"},
		{"statistics", info, "Number of stat entries = 1"},
		{"received", blocks, "Number of Received Packets: 5"},
		{"dropped", blocks, "Number of Dropped Packets: 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.in, tt.want) {
				t.Errorf("got no %q, want it in:\n%s", tt.want, tt.in)
			}
		})
	}
}

// TestReadOthers catches a reader that only understands its own files: tcpdump and tshark rewrite the sample, big endian aside.
func TestReadOthers(t *testing.T) {
	name := sampleFile(t)
	dir := t.TempDir()
	tests := []struct {
		name  string
		cmd   func(out string) []string
		rich  bool // keeps comments and directions
		exact bool // keeps nanoseconds
	}{
		{"tcpdump pcap", func(out string) []string { return []string{"tcpdump", "-r", name, "-w", out} }, false, false},
		{"tcpdump pcap, nanoseconds", func(out string) []string {
			return []string{"tcpdump", "--time-stamp-precision=nano", "-r", name, "-w", out}
		}, false, true},
		{"tshark pcapng", func(out string) []string { return []string{"tshark", "-r", name, "-w", out} }, true, true},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(dir, string(rune('a'+i)))
			cmd := tt.cmd(out)
			tool(t, cmd[0], cmd[1:]...)
			r, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := Read(r)
			if err != nil {
				t.Fatal(err)
			}
			want := sample(t).Records
			for i := range want {
				if !tt.rich {
					want[i] = Record{Packet: want[i].Packet, DirectionUnknown: true}
					want[i].Outgoing = false
				}
				if !tt.exact {
					want[i].Time = want[i].Time.Truncate(1000)
				}
			}
			if diff := cmp.Diff(want, got.Records, sameFile); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}
