//go:build !linux

package sysctl

import "os"

func readFile(name string) ([]byte, error) { return os.ReadFile(name) }
