package vm

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/guard"
)

// Kernels that were named by their paths lie beside the cache of the others, by what they are made of and not by their releases: a kernel that somebody
// builds has the release that it had yesterday, or that of Debian's. Nothing but its path means it.

// images is where they are.
func images(cache string) string { return filepath.Join(filepath.Dir(cache), "images") }

// Images lists the kernels that were named by their paths and are still unpacked, the oldest release first.
func Images() ([]Kernel, error) {
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	var ks []Kernel
	for id, a := range aboutsIn(images(cache)) {
		ks = append(ks, Kernel{Release: a.Release, From: a.From, ID: id}.at(filepath.Join(images(cache), id), a))
	}
	slices.SortStableFunc(ks, func(a, b Kernel) int {
		return cmp.Or(compareReleases(a.Release, b.Release), cmp.Compare(a.ID, b.ID))
	})
	return ks, nil
}

// leastID is how much of an ID names a kernel.
const leastID = 8

// ShortID is what is shown of an ID.
func (k Kernel) ShortID() string { return k.ID[:min(len(k.ID), 12)] }

// Who builds kernels all day would fill the disk: each takes 40 MB, and 130 for the guest that it booted.
const (
	mostImages = 8
	usedLately = time.Hour // another process may be about to boot it
)

// prune removes those that were not used for the longest time.
func prune(dir, keep string, g *guard.Guard) {
	type one struct {
		dir  string
		used time.Time
	}
	var all []one
	for id := range aboutsIn(dir) {
		if st, err := os.Stat(filepath.Join(dir, id)); err == nil && id != keep {
			all = append(all, one{filepath.Join(dir, id), st.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b one) int { return b.used.Compare(a.used) })
	for i, k := range all {
		if i >= mostImages-1 && time.Since(k.used) > usedLately {
			_ = remove(k.dir, g)
		}
	}
}
