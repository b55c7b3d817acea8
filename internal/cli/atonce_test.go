//go:build !race

package cli

// atOnce is how many tests go at once.
const atOnce = "8"

// manyLabs is how many labs one process makes at once.
const manyLabs = 20
