// Package labtest is what the root tests share: Need (a skip that says what is missing, and fails where nothing may be missing),
// Leaks (a TestMain that reports what the tests left behind) and Golden (output compared with a file). It is for tests only, and it
// builds no labs: that is package lab.
//
// Its one trap: Golden registers the flag -update for the whole test binary, so a package that uses labtest must not define that
// flag a second time.
package labtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A Requirement is something a test cannot run without.
type Requirement struct {
	// Name is how the requirement is called in messages, such as "root".
	Name string
	// Missing says what was found instead and how to mend it. It returns "" when the requirement is met.
	Missing func() string
}

// Capability bits of include/uapi/linux/capability.h.
const (
	capNetAdmin = 12 // CAP_NET_ADMIN: links, addresses, iptables, /proc/sys/net
	capNetRaw   = 13 // CAP_NET_RAW: AF_PACKET
	capSysAdmin = 21 // CAP_SYS_ADMIN: setns(2), unshare(2) with CLONE_NEWNET
)

// Root is met when the process has the capabilities that a lab needs. Effective user 0 alone is not enough: a container's root has
// often lost CAP_SYS_ADMIN.
var Root = Requirement{Name: "root", Missing: func() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Sprintf("capabilities cannot be read: %v", err)
	}
	return missingCapabilities(status)
}}

// IPTables is met when the iptables command runs. Whether the kernel has the tables is for the test to find out: asking here would
// load modules into the host.
var IPTables = Requirement{Name: "iptables", Missing: func() string {
	if why := Command("iptables").Missing(); why != "" {
		return why
	}
	if out, err := exec.Command("iptables", "--version").CombinedOutput(); err != nil {
		return fmt.Sprintf("iptables --version: %v: %s", err, bytes.TrimSpace(out))
	}
	return ""
}}

// BTF is met when the kernel carries its own type information (CONFIG_DEBUG_INFO_BTF), which eBPF programs relocate against.
var BTF = File("/sys/kernel/btf/vmlinux")

// Command is met when the named program is in PATH.
func Command(name string) Requirement {
	return Requirement{Name: name, Missing: func() string {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Sprintf("%v; scripts/deps.sh test installs what the tests call", err)
		}
		return ""
	}}
}

// File is met when the file at path can be opened for reading.
func File(path string) Requirement {
	return Requirement{Name: path, Missing: func() string {
		f, err := os.Open(path)
		if err != nil {
			return err.Error()
		}
		if err := f.Close(); err != nil {
			return err.Error()
		}
		return ""
	}}
}

// Need skips the test when a requirement is not met, and says which and why. Where nothing may be missing it fails the test
// instead: when TCPLAB_REQUIRE is set to anything but "" or "0", or when CI is "true". A skip there would hide that a feature was
// never tested.
func Need(t testing.TB, reqs ...Requirement) {
	t.Helper()
	var missing []string
	for _, r := range reqs {
		if why := r.Missing(); why != "" {
			missing = append(missing, fmt.Sprintf("%s (%s)", r.Name, why))
		}
	}
	if len(missing) == 0 {
		return
	}
	list := strings.Join(missing, "; ")
	if required() {
		t.Fatalf("missing: %s; TCPLAB_REQUIRE or CI is set, so this is a failure and not a skip", list)
	}
	t.Skipf("missing: %s", list)
}

// required says whether this run may skip nothing.
func required() bool {
	v := os.Getenv("TCPLAB_REQUIRE")
	return v != "" && v != "0" || os.Getenv("CI") == "true"
}

// missingCapabilities reads the CapEff line of /proc/PID/status and says which of the lab's capabilities are not in it.
func missingCapabilities(status []byte) string {
	for line := range strings.Lines(string(status)) {
		value, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		effective, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return fmt.Sprintf("CapEff %q: want a hexadecimal number", strings.TrimSpace(value))
		}
		var lost []string
		for _, c := range []struct {
			bit  uint
			name string
		}{{capNetAdmin, "CAP_NET_ADMIN"}, {capNetRaw, "CAP_NET_RAW"}, {capSysAdmin, "CAP_SYS_ADMIN"}} {
			if effective&(1<<c.bit) == 0 {
				lost = append(lost, c.name)
			}
		}
		if len(lost) == 0 {
			return ""
		}
		return fmt.Sprintf("no %s; run make lab, or run as root", strings.Join(lost, ", "))
	}
	return "capabilities cannot be read: no CapEff line in /proc/self/status"
}
