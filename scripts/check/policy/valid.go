package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	admissionvalidation "k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
)

// What the API server would say to each object if it were created: decoded, defaulted and validated by its own code.
func valid(files []string) error {
	out := json.NewEncoder(os.Stdout)
	for _, name := range files {
		err := each(name, func(raw []byte) error {
			object, kind, err := legacyscheme.Codecs.UniversalDecoder().Decode(raw, nil, nil)
			if err != nil {
				return err
			}
			problems := check(object)
			said := []string{}
			for _, problem := range problems {
				said = append(said, problem.Error())
			}
			return out.Encode(map[string]any{"kind": kind.Kind, "problems": said})
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func check(object runtime.Object) field.ErrorList {
	pods := corevalidation.PodValidationOptions{}
	switch known := object.(type) {
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(known)
	case *core.Pod:
		return corevalidation.ValidatePodCreate(known, pods)
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(known, pods)
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(known, pods)
	case *networking.NetworkPolicy:
		return networkvalidation.ValidateNetworkPolicy(known, networkvalidation.NetworkPolicyValidationOptions{})
	case *admissionregistration.MutatingAdmissionPolicy:
		return admissionvalidation.ValidateMutatingAdmissionPolicy(known)
	case *admissionregistration.MutatingAdmissionPolicyBinding:
		return admissionvalidation.ValidateMutatingAdmissionPolicyBinding(known)
	}
	return field.ErrorList{field.InternalError(nil, fmt.Errorf("no validation for %T", object))}
}
