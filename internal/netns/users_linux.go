package netns

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Users lists the processes that live in the network namespace with this inode, as "name (pid)". A process that may not be looked at,
// or that ends meanwhile, is not listed. It looks at each process's first thread.
func Users(inode uint64) ([]string, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("netns: list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("netns: list processes: %w", err)
	}
	want := fmt.Sprintf("net:[%d]", inode)
	var users []string
	for _, pid := range names {
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		if link, err := os.Readlink("/proc/" + pid + "/ns/net"); err != nil || link != want {
			continue
		}
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		users = append(users, strings.TrimSpace(string(comm))+" ("+pid+")")
	}
	return users, nil
}
