//go:build !linux

package netns

// PinMain does nothing: only Linux has network namespaces.
func PinMain() {}
