// Runs pods through a MutatingAdmissionPolicy, by the admission plugin of Kubernetes itself: policies, bindings and
// namespaces lie in a fake client, everything else is what an API server does with a pod that is created.
//
//	policy MANIFEST...                 policies, bindings, namespaces and pods; prints each pod as it would be stored, or
//	                                   {"refused": why}
//	policy --restricted MANIFEST...    what the `restricted` pod security standard has against each pod
//	policy --valid MANIFEST...         what the API server's validation has against each object
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
	securityapi "k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
)

// The fake client knows no OpenAPI documents; the plugin wants them for the types of what it patches.
type client struct{ kubernetes.Interface }

type described struct{ discovery.DiscoveryInterface }

func (c client) Discovery() discovery.DiscoveryInterface { return described{c.Interface.Discovery()} }

// Of the fake client too; wrapped, it has to be said again, or informers wait for a bookmark that never comes.
func (client) IsWatchListSemanticsUnSupported() bool { return true }

func (described) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }

func main() {
	do, files := run, os.Args[1:]
	if len(files) > 0 && files[0] == "--restricted" {
		do, files = restricted, files[1:]
	} else if len(files) > 0 && files[0] == "--valid" {
		do, files = valid, files[1:]
	}
	if err := do(files); err != nil {
		fmt.Fprintln(os.Stderr, "policy:", err)
		os.Exit(1)
	}
}

// Every document of a file.
func each(name string, do func(raw []byte) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	documents := utilyaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		var raw runtime.RawExtension
		if err := documents.Decode(&raw); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
			continue
		}
		if err := do(raw.Raw); err != nil {
			return err
		}
	}
}

// What the files hold: pods, and everything that is there before them.
func read(files []string) (pods []*corev1.Pod, others []runtime.Object, err error) {
	for _, name := range files {
		err := each(name, func(raw []byte) error {
			object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
			if err != nil {
				return err
			}
			switch known := object.(type) {
			case *corev1.Pod:
				pods = append(pods, known)
				return nil
			case *admissionv1.MutatingAdmissionPolicy:
				fill(&known.Spec.MatchConstraints)
			case *admissionv1.MutatingAdmissionPolicyBinding:
				fill(&known.Spec.MatchResources)
			}
			others = append(others, object)
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return pods, others, nil
}

// Sets what an API server sets where a manifest says nothing: the client's scheme has no defaults.
func fill(resources **admissionv1.MatchResources) {
	if *resources == nil {
		*resources = &admissionv1.MatchResources{}
	}
	known := *resources
	if known.MatchPolicy == nil {
		equivalent := admissionv1.Equivalent
		known.MatchPolicy = &equivalent
	}
	if known.NamespaceSelector == nil {
		known.NamespaceSelector = &metav1.LabelSelector{}
	}
	if known.ObjectSelector == nil {
		known.ObjectSelector = &metav1.LabelSelector{}
	}
	for i := range known.ResourceRules {
		if known.ResourceRules[i].Scope == nil {
			all := admissionv1.AllScopes
			known.ResourceRules[i].Scope = &all
		}
	}
}

// By the evaluator of the API server's own PodSecurity admission plugin.
func restricted(files []string) error {
	pods, _, err := read(files)
	if err != nil {
		return err
	}
	evaluator, err := security.NewEvaluator(security.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	level := securityapi.LevelVersion{Level: securityapi.LevelRestricted, Version: securityapi.LatestVersion()}
	out := json.NewEncoder(os.Stdout)
	for _, pod := range pods {
		verdict := security.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
		forbidden := ""
		if !verdict.Allowed {
			forbidden = verdict.ForbiddenDetail()
		}
		if err := out.Encode(map[string]string{"pod": pod.Name, "forbidden": forbidden}); err != nil {
			return err
		}
	}
	return nil
}

func run(files []string) error {
	pods, others, err := read(files)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	kube := client{fake.NewClientset(others...)}
	factory := informers.NewSharedInformerFactory(kube, 0)
	var dyn dynamic.Interface = dynamicfake.NewSimpleDynamicClient(scheme.Scheme)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)

	plugin, err := mutating.NewPlugin(nil)
	if err != nil {
		return err
	}
	plugin.SetEnabled(true)
	plugin.SetAuthorizer(authorizerfactory.NewAlwaysAllowAuthorizer())
	plugin.SetExternalKubeClientSet(kube)
	plugin.SetExternalKubeInformerFactory(factory)
	plugin.SetDynamicClient(dyn)
	plugin.SetRESTMapper(mapper)
	plugin.SetDrainedNotification(ctx.Done())
	if err := plugin.ValidateInitialization(); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if !plugin.WaitForReady() {
		return fmt.Errorf("the plugin does not become ready")
	}

	interfaces := admission.NewObjectInterfacesFromScheme(scheme.Scheme)
	out := json.NewEncoder(os.Stdout)
	for _, pod := range pods {
		attributes := admission.NewAttributesRecord(pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), pod.Namespace, pod.Name,
			corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, nil, true, &user.DefaultInfo{Name: "somebody"})
		if err := plugin.Admit(ctx, attributes, interfaces); err != nil {
			if err := out.Encode(map[string]string{"refused": err.Error()}); err != nil {
				return err
			}
			continue
		}
		if err := out.Encode(pod); err != nil {
			return err
		}
	}
	return nil
}
