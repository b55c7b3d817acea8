package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/userns"
	"github.com/tcplab/tcplab/lab"
)

// again does this command's work in a process that is root of a user namespace, where this one may not make a lab. done is false where
// the work is to be done here, as it always is in a virtual machine.
func (a *app) again(virtual bool) (done bool, err error) {
	if virtual || userns.Inside() || !userns.Needed() {
		return false, nil
	}
	child, err := userns.Again()
	if err != nil {
		return true, &failure{fmt.Errorf("%w; and %w", errNoRoot, err), explain.ExitUnable, explain.NoUserNamespace}
	}
	a.signals.handTo(child)
	if a.code, err = child.Wait(); err != nil {
		return true, &failure{err, explain.ExitInternal, explain.ChildDied}
	}
	return true, nil
}

var errNoRoot = errors.New("a lab needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW, which this user has not")

// withoutRights reports whether an error is that of a user namespace whose root has no rights: the kernel made it, and a security module
// keeps it from being of use.
func withoutRights(err error) bool { return userns.Inside() && errors.Is(err, lab.ErrPrivilege) }

// confined says which security module that was, where its label tells.
func confined(label string) string {
	if strings.HasPrefix(label, "unprivileged_userns") {
		return "AppArmor has put this process into its profile " + strings.Fields(label)[0] + ", which takes the rights of a user namespace's root away (Ubuntu 23.10 and later)"
	}
	if label != "" && label != "unconfined" {
		return fmt.Sprintf("a security module has this process under %q", label)
	}
	return ""
}

// privilege is doctor's first finding: by what right labs are made.
func privilege(refused error) runner.Finding {
	f := runner.Finding{Name: "privilege", State: runner.OK, Code: explain.NoUserNamespace}
	switch {
	case refused != nil:
		f.State, f.Value = runner.Missing, refused.Error()
		f.Cure = cureFor(explain.NoUserNamespace)
	case userns.Inside():
		f.Value = "an ordinary user, as root of a user namespace that was made for this"
	case userns.Needed():
		f.State, f.Value = runner.Lesser, "not all capabilities that a lab takes"
	default:
		f.Value = "all capabilities that a lab takes"
	}
	return f
}
