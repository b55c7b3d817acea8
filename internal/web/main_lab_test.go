//go:build lab

package web

import (
	"os"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
)

// TestMain catches a browser, a stream or a server that is left behind.
func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }
