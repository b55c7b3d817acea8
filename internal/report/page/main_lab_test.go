//go:build lab

package page

import (
	"os"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
)

// TestMain catches a browser that is left behind.
func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }
