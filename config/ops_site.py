from unfold.sites import UnfoldAdminSite


class OpsSite(UnfoldAdminSite):
    site_header = site_title = "Weir operations"
