package main

import (
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
)

// sbom writes the bill of materials of a binary.
func sbom(w io.Writer, info *debug.BuildInfo, version string, made time.Time, parts []part) error {
	bom := cdx.NewBOM()
	main := component(cdx.ComponentTypeApplication, debug.Module{Path: info.Main.Path, Version: version}, "Apache-2.0")
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" {
			*main.Properties = append(*main.Properties, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
		}
	}
	bom.Metadata = &cdx.Metadata{Timestamp: made.Format(time.RFC3339), Component: &main}
	var all []cdx.Component
	needs := []string{}
	for _, p := range parts {
		c := component(cdx.ComponentTypeLibrary, p.Module, p.license)
		all, needs = append(all, c), append(needs, c.BOMRef)
	}
	// Which module needs which is not in the binary: all that is known is that the program has them.
	bom.Components, bom.Dependencies = &all, &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	e := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON)
	e.SetPretty(true)
	if err := e.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("SBOM: %w", err)
	}
	return nil
}

func component(kind cdx.ComponentType, m debug.Module, license string) cdx.Component {
	namespace, name := path.Split(m.Path)
	version := m.Version
	if m.Path == standardLibrary {
		version = strings.TrimPrefix(version, "go") // pkg:golang/std@1.26.8, as scanners know it
	}
	url := packageurl.NewPackageURL(packageurl.TypeGolang, strings.TrimSuffix(namespace, "/"), name, version, nil, "").ToString()
	properties := []cdx.Property{}
	if m.Sum != "" {
		properties = append(properties, cdx.Property{Name: "go:sum", Value: m.Sum})
	}
	return cdx.Component{BOMRef: url, Type: kind, Name: m.Path, Version: version, PackageURL: url, Properties: &properties,
		Licenses: &cdx.Licenses{{Expression: license}}}
}
