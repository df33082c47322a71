"""How much a weight matters: Fisher diagonals and their relatives, for any module and loader of torch.

    from methods.base.net import Net
    from methods.importance.fisher import diagonal

    net = Net(module)                           # any nn.Module that returns logits [N, C]
    theta = net.vector()                        # its trainable parameters as one vector [P]
    F = diagonal(net, theta, loader)            # the exact Fisher diagonal [P]; batches are (x, y)
    net.views(F)                                # the same by name: {"0.weight": [out, in], ...}
    diagonal(net, theta, (x, y), "empirical")   # other estimators by name, on tensors

Only the estimators named `batched` depend on the batch size. The estimators are listed in fisher.py, and the
likelihoods (softmax, sigmoids, Gaussian) in likelihoods.py. curvature.py has the full Fisher matrix, the Gauss-Newton
and the Hessian's diagonal. persample.py sums any function of single examples' gradients, with closed forms from
layers.py where probe.py finds that they hold. training_pass.py and running_fisher.py square the batches of training,
for EWC++ and RWalk.
"""
