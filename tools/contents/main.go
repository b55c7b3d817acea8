// Command contents says what a Go binary is made of: an SBOM (CycloneDX 1.6, JSON), and the copyright file of its packages with the licence
// of every module that is linked in. It reads the binary's own build information and not go.mod: what is listed is what is there.
//
// The same binary, licence files and time give the same bytes. The sum of a module (go.sum's h1) hashes the names and the sums of its files,
// not an archive, so it is a property and not a hash of the component.
//
// Its one trap: the licences are read from the module cache, so the modules must have been downloaded. A module without a licence file is
// an error: the binary could not be given away.
package main

import (
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "the Go binary to read")
	flag.StringVar(&o.version, "version", "", "the version of its main module: its build information has none")
	flag.StringVar(&o.root, "root", ".", "folder of the main module")
	flag.StringVar(&o.sbom, "sbom", "", "write the SBOM to this file")
	flag.StringVar(&o.copyright, "copyright", "", "write the copyright file to this file")
	flag.StringVar(&o.apache, "apache", "/usr/share/common-licenses/Apache-2.0", "where the package's machine has the Apache License 2.0: named, not repeated")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "contents:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct{ binary, version, root, sbom, copyright, apache string }

func (o options) run() error {
	if o.binary == "" || o.version == "" || flag.NArg() > 0 {
		return errors.New("want -binary FILE -version VERSION, and -sbom FILE or -copyright FILE")
	}
	made, err := epoch(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(o.binary)
	if err != nil {
		return fmt.Errorf("%s: want a binary that Go built: %w", o.binary, err)
	}
	parts, err := parts(o.root, info)
	if err != nil {
		return err
	}
	if o.sbom != "" {
		err = write(o.sbom, func(w io.Writer) error { return sbom(w, info, o.version, made, parts) })
	}
	if o.copyright != "" && err == nil {
		err = write(o.copyright, func(w io.Writer) error { return copyright(w, o.apache, filepath.Base(o.binary), parts) })
	}
	return err
}

// epoch is the time that the documents carry: SOURCE_DATE_EPOCH, seconds since 1970. There is no other, or they would differ from day to day.
func epoch(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: want seconds since 1970, such as the output of git log -1 --format=%%ct", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

func write(name string, fill func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
