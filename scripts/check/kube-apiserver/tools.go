//go:build tools

// Package tools names the command that scripts/tools builds from here. The module of Kubernetes cannot be built by its
// own name alone: it names others by the folder beside it.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
