// Package userns starts this program again as root of a user namespace of its own, so that an ordinary user can make a lab. The kernel
// is asked by trying: no setting is read to guess what it would answer. Where it refused, two are read to say what mends it.
//
// It makes no network namespaces: that is netns. Its one trap: the process that called Again lives on as the parent of the one that does
// the work, and both are in the terminal's foreground group. A Ctrl-C reaches both, a kill only the one that it names. So the parent
// passes on what it gets, and Forwarded says so: who counts signals takes the larger of its own count and the parent's.
package userns

import (
	"errors"
	"fmt"
	"strings"
)

// ErrRefused is wrapped by errors of Again: nothing was started, because the kernel makes no user namespace for this user.
var ErrRefused = errors.New("no user namespace")

// variable tells the new process which descriptor, by its identity, its parent's signals come from.
const variable = "TCPLAB_USER_NAMESPACE"

// capabilities of include/uapi/linux/capability.h that a lab takes.
var capabilities = []uint{
	12, // CAP_NET_ADMIN: links, addresses, iptables
	13, // CAP_NET_RAW: AF_PACKET
	21, // CAP_SYS_ADMIN: unshare(2)
}

// lacks reports whether the text of /proc/self/status lacks one of the capabilities.
func lacks(status string) bool {
	for line := range strings.Lines(status) {
		value, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		var effective uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%x", &effective); err != nil {
			return false
		}
		for _, c := range capabilities {
			if effective&(1<<c) == 0 {
				return true
			}
		}
	}
	return false
}

// without is an environment less some variables.
func without(environ []string, names ...string) []string {
	var kept []string
next:
	for _, e := range environ {
		for _, n := range names {
			if strings.HasPrefix(e, n+"=") {
				continue next
			}
		}
		kept = append(kept, e)
	}
	return kept
}

// denials are the settings by which an ordinary user is refused a user namespace, with the value that does and the command that mends it.
var denials = []struct{ name, value, says, mends string }{
	{"kernel.unprivileged_userns_clone", "0", "gives user namespaces to root alone", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
	{"kernel.apparmor_restrict_unprivileged_userns", "1", "has AppArmor refuse them to a program without a profile that allows it", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
}

// denied says why clone(2) was refused with EPERM or EACCES, by the settings that read returns.
func denied(read func(name string) string) string {
	var why []string
	for _, d := range denials {
		if read(d.name) == d.value {
			why = append(why, fmt.Sprintf("%s=%s %s (to change it: %s)", d.name, d.value, d.says, d.mends))
		}
	}
	if len(why) == 0 {
		return "the kernel, a security module, a chroot or a container's filter forbids it to this user"
	}
	return strings.Join(why, ", and ")
}
