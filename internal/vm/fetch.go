package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/guard"
)

// Offered lists the releases that this machine's package archive has and that Fetch can get, the oldest first: Debian's kernels for
// cloud machines, which are small. It asks apt's own lists and goes nowhere.
func Offered(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "pkgnames", packagePrefix).Output()
	if err != nil {
		return nil, missing("ask apt for kernels: %w", err)
	}
	return offered(string(out)), nil
}

const (
	packagePrefix = "linux-image-"
	packageFlavor = "-cloud-amd64"
	scratchPrefix = "tcplab-kernel-"
)

func offered(names string) []string {
	var out []string
	for name := range strings.FieldsSeq(names) {
		release, ok := strings.CutPrefix(name, packagePrefix)
		// A name without a patch level is one of a package that only stands for the newest.
		if ok && strings.HasSuffix(release, packageFlavor) && strings.Count(release, ".") >= 2 {
			out = append(out, release)
		}
	}
	slices.SortFunc(out, compareReleases)
	return slices.Compact(out)
}

// Fetch gets the newest kernel of a version through apt, as the user who calls, with apt's own checks of what it got, and unpacks it
// into the cache. Nothing is installed. The guard, which may be nil, knows of what is there for a while only.
func Fetch(ctx context.Context, version string, g *guard.Guard) (Kernel, error) {
	releases, err := Offered(ctx)
	if err != nil {
		return Kernel{}, err
	}
	releases = slices.DeleteFunc(releases, func(r string) bool { return !matches(r, version) })
	if len(releases) == 0 {
		return Kernel{}, missing("apt knows no %s%s...%s; `apt-get update` may help", packagePrefix, version, packageFlavor)
	}
	dir, done, err := g.Scratch(os.TempDir(), scratchPrefix)
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch a kernel: %w", err)
	}
	defer done()
	var last error
	for _, release := range slices.Backward(releases) { // the list may name one that is gone from the archive
		cmd := exec.CommandContext(ctx, "apt-get", "-q", "download", packagePrefix+release)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			last = missing("apt-get download %s%s: %w: %s", packagePrefix, release, err, strings.TrimSpace(string(out)))
			if ctx.Err() != nil {
				return Kernel{}, ctx.Err()
			}
			continue
		}
		found, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
		if len(found) != 1 {
			return Kernel{}, missing("apt-get download %s%s left %d packages, want one", packagePrefix, release, len(found))
		}
		return Kernel{From: fromApt}.fromPackage(found[0], g)
	}
	return Kernel{}, last
}

// fromPackage unpacks a Debian package of a kernel into the cache.
func (k Kernel) fromPackage(path string, g *guard.Guard) (Kernel, error) {
	dir, done, err := g.Scratch(os.TempDir(), scratchPrefix)
	if err != nil {
		return Kernel{}, fmt.Errorf("unpack a kernel: %w", err)
	}
	defer done()
	tree := filepath.Join(dir, "tree") // the guard looks at names in dir, and a package may have any
	if out, err := exec.Command("dpkg-deb", "-x", path, tree).CombinedOutput(); err != nil {
		return Kernel{}, missing("dpkg-deb -x %s: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return k.fromTree(tree, g)
}
