"""Who generates the batches: this process (`here`), several of this machine (`processes`), or many machines (`ray`)."""
